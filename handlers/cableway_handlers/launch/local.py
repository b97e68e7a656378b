"""
Runs on this machine: each container is a process of its own, in a session of its own.

The child outlives whoever started it. For each launch there is a file with the child's process id,
on which the child holds a lock for as long as it lives (an inherited descriptor). So any process
that shares the folder, after any crash or restart, can tell what was started and what still runs,
and a reused process id deceives nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from cableway_handlers.launch.protocol import Launch, LaunchError, LaunchState, LaunchStatus

_log = logging.getLogger("cableway.launch")


class LocalLauncher:
    """Starts ``python -m cableway RUN_ID`` as a subprocess.

    *folder* keeps one ``.pid`` and one ``.log`` file for each launch; launchers that share it start
    nothing twice. *environment* is the whole environment of the children. With *show_log* the
    children write to our stderr instead of their log files; what they print still goes there.
    A child is told its launch's name as ``CABLEWAY_EXECUTION_ID``, and so is its attempt known by it. It also has
    the descriptors *held* open for as long as it lives.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str],
        show_log: bool = False,
        command: Sequence[str] = (sys.executable, "-m", "cableway"),
        held: Sequence[int] = (),
    ) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._show_log = show_log
        self._command = tuple(command)
        self._held = tuple(held)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.on_failure: Callable[[Launch], object] = lambda _: None

    def launch(self, launch: Launch) -> str:
        """Start the subprocess of *launch* unless it was started before; return ``NAME:PID``.

        Raise `LaunchError` if the operating system refuses.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                pid = self._started(launch.name)
                if pid is None:
                    pid = self._start(launch)
        except OSError as error:
            raise LaunchError(f"cannot start {launch.name} in {self._folder}: {error.strerror}") from error
        return f"{launch.name}:{pid}"

    def find(self, launch: Launch) -> str | None:
        """The external id of *launch* if it was started before, by whomever."""
        if not self._pid_file(launch.name).exists():
            return None
        with self._alone():
            pid = self._started(launch.name)
        return None if pid is None else f"{launch.name}:{pid}"

    def status(self, external_id: str) -> LaunchStatus:
        """Tell whether the subprocess still runs; its exit code is known to the launcher that started it."""
        name, pid = self._parse(external_id)
        if not self._pid_file(name).exists():
            return LaunchStatus(LaunchState.UNKNOWN)
        with self._alone():
            if self._started(name) != pid:
                return LaunchStatus(LaunchState.UNKNOWN)
            if self._is_held(name):
                return LaunchStatus(LaunchState.RUNNING)
        child = self._children.get(name)
        if child is None:
            return LaunchStatus(LaunchState.ENDED)
        return LaunchStatus(LaunchState.ENDED, _exit_code(child), signal=_signal_of(child))

    def stop(self, external_id: str, *, grace_s: float = 30.0) -> None:
        """Send SIGTERM now, and SIGKILL to the child's whole process group if it lives *grace_s* seconds later.

        Raise `LaunchError` for an id without a process.
        """
        name, pid = self._parse(external_id)
        if pid == 0:
            raise LaunchError(f"cannot stop {external_id!r}: its process is not known", permanent=True)
        with contextlib.suppress(ProcessLookupError), contextlib.ExitStack() as stack:
            handle = os.pidfd_open(pid)
            stack.callback(os.close, handle)
            # The handle came first: if the lock is held now, the handle means the child and no later process.
            if self.status(external_id).state is not LaunchState.RUNNING:
                return
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            stack.pop_all()
            threading.Thread(target=_kill_after, args=(handle, pid, grace_s), name=f"stop {name}", daemon=True).start()

    def wait(self, external_id: str, timeout_s: float | None = None) -> int | None:
        """Return when the subprocess has ended; its exit code, or None if another process started it.

        Raise `TimeoutError` after *timeout_s* seconds.
        """
        name, pid = self._parse(external_id)
        with contextlib.ExitStack() as stack:
            try:
                handle = os.pidfd_open(pid)
            except OSError:  # no such process any more
                return self.status(external_id).exit_code
            stack.callback(os.close, handle)
            if self.status(external_id).state is LaunchState.RUNNING and not _has_ended(handle, timeout_s):
                raise TimeoutError(f"{external_id} still runs after {timeout_s} s")
        child = self._children.get(name)
        return None if child is None else _exit_code(child)

    def log_file(self, launch: Launch) -> Path:
        """Where the subprocess of *launch* writes."""
        return self._folder / f"{launch.name}.log"

    def _start(self, launch: Launch) -> int:
        with self._pid_file(launch.name).open("a") as pid_file, self.log_file(launch).open("ab") as log:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            child = subprocess.Popen(
                [*self._command, launch.run_id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=None if self._show_log else log,
                env={**self._environment, "CABLEWAY_EXECUTION_ID": launch.name},
                start_new_session=True,  # neither our terminal's Ctrl-C nor our own end reaches it
                pass_fds=(pid_file.fileno(), *self._held),
            )
            pid_file.write(f"{child.pid}\n")
        self._children[launch.name] = child
        # Somebody must wait for it, or it stays a zombie for as long as we live.
        threading.Thread(target=self._await, args=(launch, child), name=f"wait for {launch.name}", daemon=True).start()
        _log.info("started %s as process %d", launch.name, child.pid)
        return child.pid

    def _await(self, launch: Launch, child: subprocess.Popen[bytes]) -> None:
        if child.wait() != 0:
            self.on_failure(launch)

    def _started(self, name: str) -> int | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._pid_file(name).read_text())
        # Started, but whoever started it died before the process id was written.
        return 0 if self._is_held(name) else None

    def _is_held(self, name: str) -> bool:
        try:
            with self._pid_file(name).open() as pid_file:
                fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _parse(self, external_id: str) -> tuple[str, int]:
        """The launch's name and the process id; who knows the name alone means the process that has it."""
        name, colon, pid = external_id.partition(":")
        if not name or "/" in name or (colon and not (pid.isascii() and pid.isdigit())):
            return "-", 0
        return name, int(pid) if colon else self._started(name) or 0

    def _pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        with (self._folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _exit_code(child: subprocess.Popen[bytes]) -> int:
    """The exit code as a shell gives it: 128 and the signal's number for a killed child."""
    code = child.wait()
    return code if code >= 0 else 128 - code


def _signal_of(child: subprocess.Popen[bytes]) -> str | None:
    """The name of the signal that killed *child*, if one did."""
    number = -child.wait()
    if number <= 0:
        return None
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _has_ended(handle: int, timeout_s: float | None) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def _kill_after(handle: int, pid: int, grace_s: float) -> None:
    try:
        if not _has_ended(handle, grace_s):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    finally:
        os.close(handle)
