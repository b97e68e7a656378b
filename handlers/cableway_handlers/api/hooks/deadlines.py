"""Time limits for very many short waits: one timer for all of them, where `asyncio.timeout` makes one for each."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """Ends blocks that take longer than *seconds*, each with `TimeoutError`. All must be in the same event loop.

    ::

        with deadlines.deadline():
            await what_may_take_long()
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # In the order of their ends, for all take equally long.
        self._open: dict[_Deadline, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def deadline(self) -> _Deadline:
        """A limit for one block."""
        return _Deadline(self)

    def begin(self, deadline: _Deadline) -> None:
        """Watch *deadline* from now on."""
        loop = asyncio.get_running_loop()
        deadline.at_s = loop.time() + self._seconds
        if loop is not self._loop:
            # Whoever waited in a loop that has ended waits no more.
            self._open.clear()
            self._loop, self._timer = loop, None
        self._open[deadline] = None
        if self._timer is None:
            self._timer = loop.call_at(deadline.at_s, self._look, loop)

    def end(self, deadline: _Deadline) -> None:
        """Watch it no more."""
        self._open.pop(deadline, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now_s = loop.time()
        while self._open:
            first = next(iter(self._open))
            if first.at_s > now_s:
                self._timer = loop.call_at(first.at_s, self._look, loop)
                return
            del self._open[first]
            first.expire()


class _Deadline:
    __slots__ = ("_cancelling", "_expired", "_task", "_watch", "at_s")

    def __init__(self, watch: Deadlines) -> None:
        self._watch = watch
        self._expired = False
        self.at_s = 0.0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._watch.begin(self)

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.end(self)
        # Whoever else wants the task to end goes before us.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
