"""Where items come from: pulled when the first queue has room, and never by sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol

from cableway.flow.channel import ChannelEndedError, Hand
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.lanes.crossing import ThreadChannel
    from cableway.flow.stage import Stage

# A source on the loop lets others run after so long.
SLICE_NS = 2_000_000


class Source(Protocol):
    """Gives some items at a time; an empty list is the end."""

    async def refill(self, count: int) -> Sequence[Any]:
        """At least one item, about *count* of them; none when there are no more."""
        ...

    async def close(self) -> None:
        """Let go of what the source holds open."""
        ...


class Asked:
    """The seed's way: a method that is asked for so many items."""

    def __init__(self, refill_queue: Callable[[int], Awaitable[Sequence[Any]]]) -> None:
        self._refill_queue = refill_queue

    async def refill(self, count: int) -> Sequence[Any]:
        """What ``refill_queue`` gives."""
        given: Any = await self._refill_queue(count)
        if given is None:
            raise TypeError("refill_queue gave None; an empty list says that there are no more items")
        if isinstance(given, Sequence) and not isinstance(given, str | bytes):
            return given  # pyright: ignore[reportUnknownVariableType]
        if isinstance(given, Iterable) and not isinstance(given, str | bytes):
            return list(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        raise TypeError(f"refill_queue must give a list of items, not {type(given).__name__}")

    async def close(self) -> None:
        """Nothing is held open."""


class Iterated:
    """Any iterable, asked on the loop; one that blocks belongs in a thread (`Threaded`)."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._values: Iterator[Any] = iter(values)
        self._error: BaseException | None = None

    async def refill(self, count: int) -> Sequence[Any]:
        """The next values. What came before an error is given first."""
        if self._error is not None:
            raise self._error
        values: list[Any] = []
        until = monotonic_ns() + SLICE_NS
        try:
            for value in islice(self._values, count):
                values.append(value)
                if monotonic_ns() > until:
                    break
        except BaseException as error:
            if not values:
                raise
            self._error = error
        return values

    async def close(self) -> None:
        """Close it if it is a generator."""
        _close(self._values)


class AsyncIterated:
    """Any async iterable; each value goes in as it comes."""

    def __init__(self, values: AsyncIterable[Any]) -> None:
        self._values: AsyncIterator[Any] = aiter(values)

    async def refill(self, count: int) -> Sequence[Any]:
        """The next value."""
        try:
            return (await anext(self._values),)
        except StopAsyncIteration:
            return ()

    async def close(self) -> None:
        """Close it if it is a generator."""
        shut = getattr(self._values, "aclose", None)
        if shut is not None:
            await shut()


class Threaded:
    """An iterable that may block, pulled by a thread of its own through a culsans queue."""

    def __init__(self, values: Iterable[Any], ahead: int) -> None:
        self._values = values
        self._ahead = ahead
        self._queue: ThreadChannel | None = None
        self._error: BaseException | None = None

    async def refill(self, count: int) -> Sequence[Any]:
        """The next values; whatever the thread has ready, at least one."""
        queue = self._start() if self._queue is None else self._queue  # an empty one counts as false
        try:
            values = [await queue.get()]
            while len(values) < count and len(queue):
                values.append(await queue.get())
        except ChannelEndedError:
            if self._error is not None:
                raise self._error from None
            return ()
        return values

    def _start(self) -> ThreadChannel:
        from cableway.flow.lanes.crossing import ThreadChannel

        self._queue = queue = ThreadChannel(self._ahead)
        threading.Thread(target=self._pull, args=(queue,), name="cableway-source", daemon=True).start()
        return queue

    def _pull(self, queue: ThreadChannel) -> None:
        values = iter(self._values)
        try:
            for value in values:
                queue.put_sync(value)
        except ChannelEndedError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            _close(values)
            queue.close()

    async def close(self) -> None:
        """Tell the thread to stop; it closes a generator itself."""
        if self._queue is not None:
            self._queue.close()


def _close(values: Any) -> None:
    if inspect.isgenerator(values):
        with contextlib.suppress(Exception):
            values.close()


def source_of(given: Any, *, in_thread: bool, ahead: int) -> Source:
    """The source for what a caller gave. Raise `TypeError` when it can give nothing."""
    if isinstance(given, AsyncIterable):
        return AsyncIterated(given)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        if in_thread:
            return Threaded(given, ahead)  # pyright: ignore[reportUnknownArgumentType]
        return Iterated(given)  # pyright: ignore[reportUnknownArgumentType]
    raise TypeError(f"source must be an iterable or an async iterable, not {type(given).__name__}")


class Feed:
    """Fills the first stage from the source until it ends, raises, or is stopped."""

    def __init__(self, source: Source, first: Stage, longest_wait_s: float) -> None:
        self._source = source
        self._first = first
        self._longest_wait_s = longest_wait_s
        self._stopped = False
        self._placing = False
        self._task: asyncio.Task[Any] | None = None
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Ask for nothing more. What the source has given already still goes in."""
        if self._stopped:
            return
        self._stopped = True
        if self._task is not None and not self._placing and self._task is not asyncio.current_task():
            self._task.cancel()

    async def run(self, hand: Hand) -> None:
        """Feed the first stage. What the source raises is kept in ``error``; what it gave before goes on."""
        self._task = asyncio.current_task()
        try:
            await self._run(hand)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
        self._task = None
        with contextlib.suppress(Exception):
            await self._source.close()

    async def _run(self, hand: Hand) -> None:
        inbox = self._first.inbox
        while not self._stopped:
            room = await inbox.room(self._longest_wait_s)
            if not room:
                return
            given = await self._source.refill(room)
            if not given:
                return
            self._placing = True
            await self._emit_all(given, hand)
            self._placing = False

    async def _emit_all(self, given: Sequence[Any], hand: Hand) -> None:
        at, turn = 0, self._first.ledger.turn
        while at < len(given):
            poured = self._first.pour(given, at)
            at += poured
            if not poured:
                await self._emit(given[at], hand)
                at += 1
            if self._first.now_ns() > turn.until_ns:
                await turn.over()

    async def _emit(self, value: Any, hand: Hand) -> None:
        first, inbox = self._first, self._first.inbox
        if value is None:
            raise TypeError("the source gave None; an item's data may hold None, an item may not be it")
        item = value if isinstance(value, WorkItem) else WorkItem(value)
        if not first.ledger.admit(item, 0, first.config.on_duplicate):
            return
        if inbox.closed:
            hand.item = item
            first.cancel(hand)
        elif inbox.fits(item):
            first.arrived(item)
            inbox.place(item)
        else:
            hand.item = item
            await self._wait_for_room(hand)

    async def _wait_for_room(self, hand: Hand) -> None:
        first = self._first
        began = first.now_ns()
        try:
            await first.inbox.put_from(hand)
        except ChannelEndedError:
            first.cancel(hand)
        finally:
            now = first.now_ns()
            if first.audience.stage_blocked is not None:
                first.audience.stage_blocked("source", first.name, now - began, now)
