"""A unit while a pool has it: its call, where it is, and what becomes of it."""

from __future__ import annotations

import asyncio
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from cableway.errors import ItemError
from cableway.flow.lanes.failure import Failure, WorkerStack
from cableway.flow.lanes.protocol import UnitResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from cableway.errors import ItemErrorCode
    from cableway.flow.lanes.parcel import Parcel
    from cableway.flow.lanes.protocol import UnitCall


class Unit:
    """One call on its way through a pool."""

    __slots__ = ("call", "future", "parcel", "seq", "shares", "stream")

    def __init__(self, seq: int, call: UnitCall, parcel: Parcel, shares: int) -> None:
        self.seq = seq
        self.call = call
        self.parcel = parcel
        self.shares = shares
        self.future: asyncio.Future[UnitResult] = asyncio.get_running_loop().create_future()
        self.stream: UnitStream | None = None

    def succeed(self, result: UnitResult) -> None:
        """Hand *result* to whoever waits."""
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Hand *error* to whoever waits for the result, or for the next value of the stream."""
        if self.stream is not None:
            self.stream.finish(error)
        elif not self.future.done():
            self.future.set_exception(error)


class UnitStream:
    """The values of a unit whose handler is a generator, in order; closing it ends the generator.

    Iterate it once. ``result`` gets its final time when the generator has ended.
    """

    def __init__(self, tell: Callable[[int], None], read_ahead: int) -> None:
        self.left = False
        self.used_ns = 0
        self.result: UnitResult | None = None
        self._tell = tell
        self._credit = read_ahead
        self._values: deque[Any] = deque()
        self._taken = 0
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> UnitStream:
        return self

    async def __anext__(self) -> Any:
        while not self._values:
            if self._ended or self.left:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._taken += 1
        if self._taken >= 2 and not self._ended:
            self._credit += self._taken
            self._tell(self._taken)
            self._taken = 0
        return self._values.popleft()

    @property
    def waits(self) -> bool:
        """Whether the worker may not go on until somebody takes a value."""
        return self._credit <= 0

    async def aclose(self) -> None:
        """End the generator in the worker; values that were on their way are dropped."""
        if not self.left and not self._ended:
            self._tell(0)
        self.left = True
        self._values.clear()

    def push(self, value: Any, spent_ns: int) -> None:
        """Add a value that has arrived and took *spent_ns* to make."""
        self._credit -= 1
        self.used_ns += spent_ns
        if not self.left:
            self._values.append(value)
            self._wake()

    def finish(self, error: BaseException | None) -> None:
        """End it, with *error* after the values that are already here."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def revive(failure: Failure) -> BaseException:
    """Return the error that a worker described: the handler's own where it can be read here, else an `ItemError`."""
    if failure.error is not None:
        try:
            error = pickle.loads(failure.error)
        except Exception:
            error = None
        if isinstance(error, Exception):
            error.__cause__ = WorkerStack(failure.stack)
            return error
    message = failure.message if failure.code != "handler" else f"{failure.error_type}: {failure.message}"
    code = cast("ItemErrorCode", failure.code)
    return ItemError(code, message, error_type=failure.error_type, stack=failure.stack)
