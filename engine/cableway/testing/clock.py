"""
A clock for tests: hours of timeouts, pauses and rate limits pass while nothing else can happen.

Time stands still while anything runs. When all that is left is to wait, it jumps to the moment at
which the first wait is over, so a test takes no longer than the work in it and two runs of it read
the same times. What works outside the event loop (threads, children) takes no time either; only
when it works longer than something on the loop waits does time go on, as fast as the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

from cableway.flow.clock import Clock
from cableway.testing.loop import FakeLoop, StalledError

T = TypeVar("T")

DAY_S = 86_400.0

# What the flow awaits of threads, children and blocking sources.
_AWAITED = ("start", "run", "refill", "close")


class _Trip:
    """Something at work outside the loop; ``parked`` while it waits by this clock."""

    __slots__ = ("parked",)

    def __init__(self) -> None:
        self.parked = False


_mine = threading.local()


class FakeClock(Clock):
    """Time that passes only where everything waits.

    Give it to a pipeline, or to a function of `cableway.testing`, and run the test with `run`. Where
    sockets are open, *quiet_s* real seconds in which nothing arrives count as nothing to happen. Once more
    than *limit_s* have passed, or nobody waits for anything that could come, a test would go on for ever:
    then `StalledError` is raised. *seed* makes the random parts of pauses the same in each run.
    """

    def __init__(self, *, seed: int = 0, limit_s: float = DAY_S, quiet_s: float = 0.1) -> None:
        super().__init__(now_ns=self._now_ns)
        self._seed = seed
        self._limit_ns = round(limit_s * 1e9)
        self._base_ns = time.monotonic_ns()
        self._elapsed_ns = 0
        self._loop: FakeLoop | None = None
        self._trips: set[_Trip] = set()
        self._sleepers: set[threading.Event] = set()
        self.quiet_s = quiet_s

    def __setattr__(self, name: str, value: object) -> None:
        # Only the reading is frozen; on Python 3.11 the class above would refuse our own attributes too.
        object.__setattr__(self, name, value)

    @property
    def elapsed_s(self) -> float:
        """Seconds that have passed by this clock."""
        return self._elapsed_ns / 1e9

    @property
    def busy(self) -> bool:
        """Whether something is at work outside the event loop."""
        return any(not trip.parked for trip in self._trips)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run *main* to its end by this clock and return its result. Time goes on where a run before ended.

        Raise `StalledError` when it would never end, and `RuntimeError` while the clock runs already.
        """
        if self._loop is not None:
            main.close()
            raise RuntimeError("this clock runs already")
        # Items made before this moment must not be younger than the clock.
        self._base_ns = max(self._base_ns, time.monotonic_ns() - self._elapsed_ns)
        with (
            _seeded(self._seed),
            patch("cableway.items._now_ns", self.now_ns),
            patch("cableway.aside.threading", SimpleNamespace(Thread=self._thread)),
        ):
            try:
                with asyncio.Runner(loop_factory=self._new_loop) as runner:
                    return runner.run(main)
            finally:
                self._loop = None
                self._wake_all()

    def sleep(self, seconds: float) -> None:
        """Wait in a thread, as `time.sleep` would. On the loop, ``await asyncio.sleep`` is by this clock already."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("this clock does not run; start the test with FakeClock.run")
        if loop.in_its_thread():
            raise RuntimeError("this would block the event loop; await asyncio.sleep instead")
        woken = threading.Event()
        loop.call_soon_threadsafe(self._park, getattr(_mine, "trip", None), seconds, woken)
        woken.wait()

    def watched(self, worker: T) -> T:
        """*worker*, whose work outside the loop holds the time from now on."""
        for name in _AWAITED:
            method = getattr(worker, name, None)
            if inspect.iscoroutinefunction(method):
                setattr(worker, name, self._counted(method))
        call: Any = getattr(worker, "call", None)
        if inspect.iscoroutinefunction(call):
            setattr(worker, "call", self._called(call))  # noqa: B010 - a type checker knows no such attribute
        return worker

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass. The loop calls this; a test that waits needs not."""
        self._elapsed_ns += max(0, round(seconds * 1e9))
        if self._elapsed_ns > self._limit_ns:
            raise StalledError(
                f"more than {self._limit_ns / 1e9:g} s have passed by the fake clock; "
                "either something never ends, or limit_s is too small"
            )

    @contextmanager
    def away(self) -> Generator[_Trip]:
        """While this is entered, something is at work outside the loop."""
        trip = _Trip()
        self._trips.add(trip)
        try:
            yield trip
        finally:
            self._trips.discard(trip)

    def in_thread(self, function: Callable[[], T]) -> Callable[[], T]:
        """*function*, which a thread is about to call; it is at work until it has ended."""
        trip, loop = _Trip(), self._loop
        self._trips.add(trip)

        def work() -> T:
            _mine.trip = trip
            try:
                return function()
            finally:
                if loop is not None:
                    with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
                        loop.call_soon_threadsafe(self._trips.discard, trip)

        return work

    def _thread(self, target: Callable[[], None], **options: Any) -> threading.Thread:
        """A thread in which the job has a bloc opened or closed, or a letter stored."""
        return threading.Thread(target=self.in_thread(target), **options)

    def _now_ns(self) -> int:
        return self._base_ns + self._elapsed_ns

    def _new_loop(self) -> FakeLoop:
        self._loop = FakeLoop(self)
        return self._loop

    def _counted(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any) -> Any:
            with self.away():
                result = await method(*args)
            if getattr(result, "stream", None) is not None:
                self._count_stream(result)
            return result

        return counted

    def _count_stream(self, result: Any) -> None:
        """A child makes the values of its stream while somebody waits for them."""
        result.stream = _CountedStream(result.stream, self)

    def _called(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(function: Callable[[Any], Any], *rest: Any) -> Any:
            with self.away() as trip:
                return await call(partial(_as_trip, trip, function), *rest)

        return called

    def _park(self, trip: _Trip | None, seconds: float, woken: threading.Event) -> None:
        self._sleepers.add(woken)
        if trip is not None:
            trip.parked = True
        asyncio.get_running_loop().call_later(max(0.0, seconds), self._wake, trip, woken)

    def _wake(self, trip: _Trip | None, woken: threading.Event) -> None:
        if trip is not None:
            trip.parked = False
        self._sleepers.discard(woken)
        woken.set()

    def _wake_all(self) -> None:
        """Threads that were left behind asleep must not sleep for ever."""
        for woken in tuple(self._sleepers):
            woken.set()
        self._sleepers.clear()
        self._trips.clear()


class _CountedStream:
    """A stream that a child makes, as the flow pulls it."""

    def __init__(self, stream: Any, clock: FakeClock) -> None:
        self._stream = stream
        self._clock = clock

    def __aiter__(self) -> _CountedStream:
        return self

    async def __anext__(self) -> Any:
        with self._clock.away():
            return await anext(self._stream)

    async def aclose(self) -> None:
        with self._clock.away():
            await self._stream.aclose()


def _as_trip(trip: _Trip, function: Callable[[Any], Any], argument: Any) -> Any:
    _mine.trip = trip
    return function(argument)


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """The same random numbers in each run; afterwards the ones that would have come."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
