"""
The process lane: workers are fresh Python processes, started with exec and never forked.

A handler may do anything there, since a process can be killed and replaced.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cableway.errors import ResourceError
from cableway.flow.lanes.crew import Crew
from cableway.flow.lanes.worker import Lines, Worker
from cableway.flow.transfer import Leases, memory_file

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = str(Path(__file__).resolve().parents[3])
_BOOT = "import sys;sys.path.append(sys.argv[1]);from cableway.flow.lanes.child import main;main()"


class ProcessPool(Crew):
    """Worker processes of one bloc in one stage."""

    lane: ClassVar[str] = "process"

    def hire(self, generation: int) -> Worker:
        """Start a process. Raise `ResourceError` when the machine has no room for one."""
        try:
            return _hired(self.arena.fileno(), generation)
        except OSError as error:
            raise ResourceError(f"no worker of stage {self.config.stage!r} can be started: {error}") from error


class _Process:
    """A worker's process, and the pipe whose end ends it: when this process dies, the kernel kills the worker."""

    def __init__(self, process: subprocess.Popen[bytes], life: int) -> None:
        self._process = process
        self._life = life
        self._ended: Callable[[], None] | None = None

    def watch(self, ended: Callable[[], None]) -> None:
        """Call *ended* once the process has ended."""
        self._ended = ended
        loop = asyncio.get_running_loop()
        try:
            handle = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait, args=(loop,), daemon=True).start()
            return
        loop.add_reader(handle, self._gone, loop, handle)

    def kill(self) -> None:
        """Kill the process; it has no say in it."""
        self._process.kill()

    def at_rest(self, then: Callable[[], None]) -> None:
        """Call *then*: an ended process runs no more."""
        then()

    def reason(self) -> str:
        """How the process ended."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"exit code {code}"
        import signal

        try:
            return f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"signal {-code}"

    def _gone(self, loop: asyncio.AbstractEventLoop, handle: int) -> None:
        loop.remove_reader(handle)
        os.close(handle)
        self._process.wait()
        self._finish()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.wait()
        loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        os.close(self._life)
        if self._ended is not None:
            self._ended()


def _hired(inbox: int, generation: int) -> Worker:
    lines = Lines()
    outbox = -1
    life: tuple[int, int] = (-1, -1)
    try:
        outbox, life = memory_file(), os.pipe()
        process = _spawned((lines.recall.fileno(), lines.child_talk.fileno(), inbox, outbox, life[0]))
    except OSError:
        lines.close()
        for fd in (outbox, *life):
            if fd >= 0:
                os.close(fd)
        raise
    lines.child_talk.close()
    os.close(life[0])
    return Worker(lines, _Process(process, life[1]), Leases(outbox), generation)


def _spawned(fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start the interpreter that this process runs in, with the same switches and only *fds* open."""
    switches = _switches()
    command = [sys.executable, *switches, "-P", "-c", _BOOT, _ROOT, *map(str, fds)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds)  # noqa: S603 - our own interpreter


def _switches() -> list[str]:
    """The interpreter's own switches of this process, as multiprocessing passes them on."""
    known: Any = subprocess
    return list(known._args_from_interpreter_flags())  # noqa: SLF001 - it has no public name
