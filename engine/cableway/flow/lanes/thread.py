"""
The thread lane: threads of the stage's own, called and heard through culsans queues.

The threads are daemons and are not waited for when they hang: a call that takes too long is marked as
failed, its thread is left behind, and another takes its place.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from cableway.errors import ResourceError
from cableway.flow.attempt import SetupError, too_slow
from cableway.flow.channel import ChannelEndedError
from cableway.flow.lanes.crossing import ThreadChannel


class Call:
    """One call on its way to a thread and back."""

    __slots__ = ("argument", "context", "done", "error", "finished_ns", "function", "left", "started_ns", "value")

    def __init__(self, function: Callable[..., Any], argument: Any, done: asyncio.Future[None]) -> None:
        self.function = function
        self.argument = argument
        self.context = contextvars.copy_context()
        self.done = done
        self.value: Any = None
        self.error: BaseException | None = None
        self.started_ns = 0
        self.finished_ns = 0
        self.left = False


class ThreadPool:
    """At most *workers* threads, started as calls come.

    Calls and results lie in two deques; what passes the queues is a bell, rung when none is ringing yet.
    A thread that takes a call while others wait rings for the next thread, so all come when handlers
    block, and one does the work of many when they do not.
    """

    def __init__(
        self,
        name: str,
        workers: int,
        setup: Callable[[], Any] | None,
        now_ns: Callable[[], int],
        left_behind: Callable[[], None],
    ) -> None:
        self._left_behind = left_behind
        self._name = name
        self._workers = workers
        self._setup = setup
        self._now_ns = now_ns
        self._border = threading.Lock()
        self._calls: deque[Call] = deque()
        self._calls_bell = ThreadChannel(0)
        self._calls_rung = False
        self._done: list[Call] = []
        self._done_bell = ThreadChannel(0)
        self._done_rung = False
        self._threads = 0
        self._started = 0
        self._in_hand = 0
        self._collector: asyncio.Task[None] | None = None

    async def call(self, function: Callable[..., Any], argument: Any, timeout_s: float | None = None) -> Call:
        """Run ``function(argument)`` in a thread; the call that is returned holds its value and times.

        Raise what it raised, or `ItemError` ``timeout``; the thread is then left behind.
        """
        call = Call(function, argument, asyncio.get_running_loop().create_future())
        self._in_hand += 1
        try:
            self._man()
            self._submit(call)
            await self._wait(call, timeout_s)
        except asyncio.CancelledError:
            self._leave(call)
            raise
        finally:
            self._in_hand -= 1
        if call.error is not None:
            raise call.error
        return call

    async def _wait(self, call: Call, timeout_s: float | None) -> None:
        if timeout_s is None:
            await call.done
            return
        left_s: float = timeout_s
        while True:
            await asyncio.wait((call.done,), timeout=left_s)
            if call.done.done():
                return
            # The time counts from the moment a thread took the call, not while all of them are busy.
            left_s = timeout_s - (self._now_ns() - call.started_ns) / 1e9 if call.started_ns else timeout_s
            if left_s <= 0:
                self._leave(call)
                raise too_slow(timeout_s)

    def _submit(self, call: Call) -> None:
        with self._border:
            self._calls.append(call)
            ring, self._calls_rung = not self._calls_rung, True
        if ring:
            self._calls_bell.put_nowait(None)

    def _leave(self, call: Call) -> None:
        # Whether a thread is left behind is decided here while the thread may just be done.
        with self._border:
            call.left = True
            if call.started_ns and not call.finished_ns:
                self._threads -= 1
                self._left_behind()

    def _man(self) -> None:
        if self._collector is None:
            # In a context of its own: it is the pool's, and no task that a handler has left.
            self._collector = asyncio.get_running_loop().create_task(self._collect(), context=contextvars.Context())
        if self._threads < min(self._in_hand, self._workers):
            name = f"cableway-{self._name}-{self._started + 1}"
            try:
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            except RuntimeError as error:
                raise ResourceError(f"{error}: the limit of processes, or of memory, is reached") from None
            self._threads += 1
            self._started += 1

    def _serve(self) -> None:
        broken = self._set_up()
        while True:
            call = self._next()
            if call is None:
                try:
                    self._calls_bell.get_sync()
                except ChannelEndedError:
                    return
                with self._border:
                    self._calls_rung = False
                continue
            if broken is None:
                _run(call)
            else:
                call.error = broken
            if self._bring_home(call):  # another thread has taken this one's place
                return
            del call

    def _next(self) -> Call | None:
        with self._border:
            while self._calls and self._calls[0].left:
                self._calls.popleft()
            if not self._calls:
                return None
            call = self._calls.popleft()
            call.started_ns = self._now_ns()
            ring = bool(self._calls) and not self._calls_rung
            self._calls_rung = self._calls_rung or ring
        if ring:
            self._calls_bell.put_nowait(None)
        return call

    def _bring_home(self, call: Call) -> bool:
        with self._border:
            call.finished_ns = self._now_ns()
            left = call.left
            self._done.append(call)
            ring, self._done_rung = not self._done_rung, True
        if ring:
            self._done_bell.put_nowait(None)
        return left

    def _set_up(self) -> BaseException | None:
        try:
            if self._setup is not None:
                self._setup()
        except BaseException as error:
            broken = SetupError(f"setup of {self._name} raised {type(error).__name__}: {error}")
            broken.__cause__ = error
            return broken
        return None

    async def _collect(self) -> None:
        while True:
            try:
                await self._done_bell.get()
            except ChannelEndedError:
                return
            with self._border:
                done, self._done = self._done, []
                self._done_rung = False
            for call in done:
                if not call.done.done():
                    call.done.set_result(None)
            del done

    def close(self) -> None:
        """Let idle threads end; those that hang are left behind."""
        self._calls_bell.close()
        self._done_bell.close()
        if self._collector is not None:
            self._collector.cancel()


def _run(call: Call) -> None:
    try:
        call.value = call.context.run(call.function, call.argument)
    except BaseException as error:
        call.error = error
    finally:
        call.argument = None
