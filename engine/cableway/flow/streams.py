"""Results that are many: every kind of them as one asynchronous iterator, pulled value by value."""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, cast

from cableway.flow.attempt import within
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.lanes.protocol import UnitResult
    from cableway.flow.lanes.thread import ThreadPool

# A generator in a thread is asked for so many values, or for so long, before they come home.
PULL_AT_ONCE = 64
PULL_NS = 5_000_000

_END = object()


def stream_of(result: UnitResult, pool: ThreadPool | None) -> AsyncIterator[Any] | None:
    """The stream that a handler gave, or None when it gave one value."""
    if result.stream is not None:
        return result.stream
    value = result.value
    if inspect.isasyncgen(value):
        return value
    if inspect.isgenerator(value):
        return Inline(value) if pool is None else Pulled(value, pool)
    return Inline(iter(value)) if _are_items(value) else None


def _are_items(value: Any) -> bool:
    if type(value) is not list:
        return False
    members = cast("list[Any]", value)
    return bool(members) and all(isinstance(member, WorkItem) for member in members)


class Inline:
    """An iterator that is cheap enough to be asked on the loop."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values

    def __aiter__(self) -> Inline:
        return self

    async def __anext__(self) -> Any:
        value = next(self._values, _END)
        if value is _END:
            raise StopAsyncIteration
        return value

    async def aclose(self) -> None:
        """Close the generator, if it is one."""
        shut = getattr(self._values, "close", None)
        if shut is not None:
            shut()


class Pulled:
    """A generator that may block: a thread asks it for a few values at a time.

    ``room`` tells how many may be asked for, so that no more is made than the next stage can take.
    """

    def __init__(self, values: Iterator[Any], pool: ThreadPool) -> None:
        self.room: Callable[[], int] = lambda: PULL_AT_ONCE
        self.timeout_s: float | None = None
        self._drawn = _Drawn(values)
        self._pool = pool
        self._ready: deque[Any] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._closed = False

    def __aiter__(self) -> Pulled:
        return self

    async def __anext__(self) -> Any:
        if not self._ready and self._error is None and not self._ended:
            await self._pull()
        if self._ready:
            return self._ready.popleft()
        if self._error is not None:
            error, self._error, self._ended = self._error, None, True
            raise error
        raise StopAsyncIteration

    async def _pull(self) -> None:
        count = max(1, min(self.room(), PULL_AT_ONCE))
        try:
            call = await self._pool.call(self._drawn.into(self._ready), count, self.timeout_s)
        except BaseException:
            self._ended = True
            raise
        self._error, self._ended = call.value
        self._closed = self._ended or self._error is not None  # by itself

    async def aclose(self) -> None:
        """Close the generator in a thread; one that hangs there is left behind, and closed when it goes on."""
        self._ended = True
        if not self._closed:
            self._closed = True
            if not self._drawn.leave():
                await self._pool.call(self._drawn.close, None, 1.0)


class _Drawn:
    """A generator that one thread draws from at a time, closed by whoever comes last."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values
        self._in_hand = threading.Lock()
        self._unwanted = False

    def into(self, ready: deque[Any]) -> Callable[[int], tuple[BaseException | None, bool]]:
        """What puts at most so many values into *ready*, and says what was raised and whether that was the end."""

        def draw(count: int) -> tuple[BaseException | None, bool]:
            with self._in_hand:
                drawn = self._draw(count, ready)
            if self._unwanted:
                self.close()
            return drawn

        return draw

    def leave(self) -> bool:
        """Whether a thread is still at it, which then closes it."""
        self._unwanted = True  # before the look at the lock, for that thread looks after it has given it back
        return self._in_hand.locked()

    def close(self, _: Any = None) -> None:
        """Close it, unless a thread is at it."""
        shut = getattr(self._values, "close", None)
        if shut is not None and self._in_hand.acquire(blocking=False):
            try:
                shut()
            finally:
                self._in_hand.release()

    def _draw(self, count: int, ready: deque[Any]) -> tuple[BaseException | None, bool]:
        until = monotonic_ns() + PULL_NS
        try:
            for _ in range(count):
                value = next(self._values, _END)
                if value is _END:
                    return None, True
                ready.append(value)
                if monotonic_ns() > until:
                    break
        except BaseException as error:
            return error, False
        return None, False


async def next_of(stream: AsyncIterator[Any], timeout_s: float | None, abandoned: Callable[[], None]) -> Any:
    """The stream's next value within *timeout_s*. Raise `StopAsyncIteration` at its end."""
    if timeout_s is None or isinstance(stream, Inline | Pulled):
        return await anext(stream)
    return await within(timeout_s, anext(stream), abandoned)


async def close_stream(stream: AsyncIterator[Any]) -> None:
    """Let a stream's generator end where it stands."""
    shut = getattr(stream, "aclose", None)
    if shut is not None:
        await shut()
