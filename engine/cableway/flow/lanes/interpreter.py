"""
The interpreter lane: workers are interpreters of their own in threads of this process (Python 3.14).

They start fast, but one that hangs can only be asked to stop, which code outside Python does not
hear, and then is left to itself; and modules that keep state for the whole process, numpy for one, do not load there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cableway.errors import DefinitionError, ResourceError
from cableway.flow.lanes.crew import Crew
from cableway.flow.lanes.selfcontained import interpreter_plan
from cableway.flow.lanes.worker import Lines, Worker
from cableway.flow.transfer import Leases, memory_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from cableway.flow.lanes.loading import Plan
    from cableway.flow.lanes.protocol import PoolConfig, PoolEvents

_ROOT = str(Path(__file__).resolve().parents[3])
_STOP_S = 1.0
_BOOT = """
import sys
if {root!r} not in sys.path:
    sys.path.append({root!r})
from cableway.flow.lanes.guest import serve
serve({calls}, {talk}, {inbox}, {outbox})
"""


class InterpreterPool(Crew):
    """Worker interpreters of one bloc in one stage. Raise `DefinitionError` on Python before 3.14."""

    lane: ClassVar[str] = "interpreter"

    def __init__(self, config: PoolConfig, events: PoolEvents) -> None:
        version = tuple(sys.version_info[:2])
        if version < (3, 14):
            raise DefinitionError(
                f"stage {config.stage!r}: the interpreter lane needs Python 3.14, and this is "
                f"{version[0]}.{version[1]}: use the process lane"
            )
        super().__init__(config, events)
        self._bodies: list[_Interpreter] = []

    def plan(self) -> Plan:
        """What every worker is told first. Raise `DefinitionError` when the handler cannot be sent."""
        return interpreter_plan(self.config)

    async def close(self, grace_s: float) -> None:
        """End the workers; those that hang in Python code get a moment to be stopped, others are left."""
        await super().close(grace_s)
        left = [body.over for body in self._bodies if not body.over.done()]
        if left:
            await asyncio.wait(left, timeout=_STOP_S)

    def hire(self, generation: int) -> Worker:
        """Start an interpreter in a thread. Raise `ResourceError` when the machine has no room for one."""
        lines = Lines()
        try:
            outbox = memory_file()
            body = _Interpreter(
                os.dup(lines.recall.fileno()), lines.child_talk.detach(), os.dup(self.arena.fileno()), os.dup(outbox)
            )
        except (OSError, RuntimeError) as error:
            lines.close()
            raise ResourceError(f"no worker of stage {self.config.stage!r} can be started: {error}") from error
        self._bodies = [other for other in self._bodies if not other.over.done()] + [body]
        return Worker(lines, body, Leases(outbox), generation)


class _Interpreter:
    """A worker's interpreter and the thread that runs it; the thread owns the worker's file descriptors."""

    def __init__(self, calls: int, talk: int, inbox: int, outbox: int) -> None:
        self._fds = (calls, talk, inbox, outbox)
        self._code = _BOOT.format(root=_ROOT, calls=calls, talk=talk, inbox=inbox, outbox=outbox)
        self._loop = asyncio.get_running_loop()
        self._ended: Callable[[], None] | None = None
        self._rest: Callable[[], None] | None = None
        self._left = False
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._error: str | None = None
        # A daemon: one that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._live, name="cableway-interpreter", daemon=True)
        self._thread.start()

    def watch(self, ended: Callable[[], None]) -> None:
        """Call *ended* once the interpreter has ended or has been left."""
        self._ended = ended
        if self.over.done():
            self._loop.call_soon(self._tell)

    def kill(self) -> None:
        """Leave it to itself: what it does or gives from now on counts for nothing."""
        if not self.over.done():
            self._left = True
            self._loop.call_soon(self._tell)

    def at_rest(self, then: Callable[[], None]) -> None:
        """Call *then* when its thread has ended: at once unless it was left running."""
        if self.over.done():
            then()
        else:
            self._rest = then

    def reason(self) -> str:
        """How it ended."""
        if self._left:
            return "left to itself"
        return self._error or "the interpreter ended"

    def _live(self) -> None:
        interpreters: Any = __import__("concurrent.interpreters", fromlist=["create"])
        interpreter: Any = None
        try:
            interpreter = interpreters.create()
            interpreter.exec(self._code)
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
        finally:
            for fd in self._fds:
                os.close(fd)
            if interpreter is not None:
                with contextlib.suppress(Exception):
                    interpreter.close()
            with contextlib.suppress(RuntimeError):  # the loop may have closed since it was left
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        self.over.set_result(None)
        if self._rest is not None:
            self._rest()
        self._tell()

    def _tell(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()
