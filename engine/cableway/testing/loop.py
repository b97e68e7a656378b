"""An event loop whose time is a `FakeClock`'s: where a real loop would wait, this one lets time pass."""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from cableway.testing.clock import FakeClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


File = int | _HasFileno

STALL_S = 2.0
"""Real seconds after which a loop that waits for nothing is taken to wait for ever."""


class StalledError(RuntimeError):
    """By the fake clock nothing can happen any more, and yet somebody waits."""


class FakeLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, except for its time. `FakeClock.run` makes it."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._thread = threading.get_ident()
        self._children: set[int] = set()
        super().__init__(_Selector(clock, self))

    def time(self) -> float:
        """Seconds by the clock, 0 at its start."""
        return self._clock.elapsed_s

    def in_its_thread(self) -> bool:
        """Whether the caller is on the loop's own thread."""
        return threading.get_ident() == self._thread

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As any loop's; the call holds the time while it runs."""
        return super().run_in_executor(executor, self._clock.in_thread(lambda: func(*args)))

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's
        """As any loop's; its threads are waited for in real time."""
        ending: Any = super().shutdown_default_executor  # takes a timeout from Python 3.12 on
        with self._clock.away():
            await (ending() if timeout is None else ending(timeout))

    def add_reader(self, fd: File, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> None:
        """As any loop's; the flow's own lines to its children are known by it."""
        if str(getattr(callback, "__module__", "")).startswith("cableway.flow."):
            self._children.add(_number(fd))
        super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: File) -> bool:
        """As any loop's."""
        self._children.discard(_number(fd))
        return super().remove_reader(fd)

    def sockets(self, watched: Mapping[Any, Any]) -> int:
        """How many of the *watched* files are neither the loop's own nor the flow's."""
        return max(0, len(watched) - 1 - len(self._children))


def _number(fd: File) -> int:
    return fd if isinstance(fd, int) else fd.fileno()


class _Selector(selectors.BaseSelector):
    """Waits for files as ever, and for time by letting it pass."""

    def __init__(self, clock: FakeClock, loop: FakeLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock
        self._loop = loop
        self._busy_since: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; when nothing is, time passes instead of being waited for."""
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._clock.busy:
            return self._beside_others(timeout)
        self._busy_since = None
        if self._loop.sockets(self.get_map()):
            ready = self._real.select(None if timeout is None else self._clock.quiet_s)
            if ready:
                return ready
        if timeout is None:
            return self._unless_stalled()
        self._clock.advance(timeout)
        return []

    def _beside_others(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Others are at work: wait for them, yet no longer in real time than by the clock.

        ``_busy_since`` is the real time that the clock stands at; what is at work moves it no further.
        """
        if self._busy_since is None:
            self._busy_since = time.monotonic()
        if timeout is None:
            return self._real.select(None)
        due = self._busy_since + timeout
        ready = self._real.select(max(0.0, due - time.monotonic()))
        if ready or time.monotonic() < due:
            return ready
        self._busy_since = due
        self._clock.advance(timeout)
        return []

    def _unless_stalled(self) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(STALL_S)
        if not ready:
            raise StalledError(f"nothing can happen any more; waiting for ever: {self._waiting()}")
        return ready

    def _waiting(self) -> str:
        names: list[str] = []
        for task in asyncio.all_tasks(self._loop):
            stack = task.get_stack(limit=1)
            place = f" (line {stack[-1].f_lineno} of {stack[-1].f_code.co_filename})" if stack else ""
            names.append(f"{getattr(task.get_coro(), '__qualname__', task.get_name())}{place}")
        return ", ".join(sorted(names)[:5]) or "the loop itself"

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
