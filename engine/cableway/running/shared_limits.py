"""
Limits that all runs share, as a stage's turnstiles: units at work at a time, and units begun in a period.

The database decides what a run has of each, under the run's lease, so whoever crashes holds nothing back for
longer than that. A run draws in blocks: places for as many units as wait, starts for half a second, so that
most units cost no query. What it does not use it gives back, or lets lapse, within a second.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from cableway.errors import CablewayError, LeaseLostError, UnavailableError, UnknownNameError
from cableway.running.threads import in_thread

if TYPE_CHECKING:
    from cableway.flow.turnstile import Turnstile
    from cableway.store.port import Drawn, Lease, RunStore

log = logging.getLogger("cableway.job")

BLOCK_S = 0.5
"""Seconds for which starts are drawn at once."""
IDLE_S = 1.0
"""Seconds after which places that nobody uses are given back, and starts lapse."""
FULL_S = 0.2
"""Seconds between two tries while other runs have all places."""


class SharedLimits:
    """The turnstiles of a run. *open_store* makes the store to draw over, when the first unit wants to begin."""

    def __init__(self, open_store: Callable[[], RunStore], lease: Lease) -> None:
        self._open_store = open_store
        self._lease = lease
        self._store: RunStore | None = None
        self._alone = threading.Lock()
        self._closed = False
        self._limits: dict[str, _SharedLimit] = {}

    def turnstiles(self, names: Iterable[str]) -> tuple[Turnstile, ...]:
        """Those of the limits *names*, in one order for all stages, so that no two units wait for each other."""
        return tuple(self._limits.setdefault(name, _SharedLimit(name, self._draw)) for name in sorted(names))

    def check(self) -> None:
        """Raise `UnknownNameError` where one of the limits is not there. Blocks."""
        for name in self._limits:
            self._draw(name, 0, 0, 0)

    async def close(self) -> None:
        """End, and let go of the connection. The outcome of the attempt gives back what is still held."""
        for limit in self._limits.values():
            await limit.close()
        await in_thread(self._close_store)

    def _close_store(self) -> None:
        with self._alone:
            self._closed = True
            if self._store is not None:
                self._store.close()

    def _draw(self, name: str, slots: int, in_use: int, starts: int) -> Drawn:
        with self._alone:
            if self._closed:  # whoever asked was left behind
                raise UnavailableError("the run draws nothing more")
            self._store = self._store or self._open_store()
            return self._store.draw(self._lease, name, slots=slots, in_use=in_use, starts=starts)


class _SharedLimit:
    """One limit. Everything but the drawing happens on the loop."""

    def __init__(self, name: str, draw: Callable[[str, int, int, int], Drawn]) -> None:
        self._draw = draw
        self._name = name
        self._slots: int = 0
        self._in_use: int = 0
        self._starts: int = 0
        self._any_start: bool = False
        self._per_s: float = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._changed = asyncio.Event()
        self._drawing: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()

    async def enter(self) -> None:
        """As `Turnstile.enter`. Raise `UnknownNameError` where the limit is not there any more."""
        loop = asyncio.get_running_loop()
        if self._drawing is None or self._drawing.done():
            # Not in the context of the unit that happens to come first: it is no task of its handler.
            self._drawing = loop.create_task(self._draw_while_needed(), context=self._context)
        if not self._waiting and self._may_begin():
            self._begin()
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        self._changed.set()
        try:
            await turn
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()
            raise

    def leave(self) -> None:
        """As `Turnstile.leave`."""
        self._in_use -= 1
        self._admit()
        self._changed.set()

    async def close(self) -> None:
        """Draw nothing more."""
        if self._drawing is not None:
            self._drawing.cancel()
            await asyncio.wait((self._drawing,))

    def _may_begin(self) -> bool:
        return self._in_use < self._slots and (self._any_start or self._starts > 0)

    def _begin(self) -> None:
        self._in_use += 1
        self._starts -= 1

    def _admit(self) -> None:
        while self._waiting and self._may_begin():
            turn = self._waiting.popleft()
            if not turn.done():
                self._begin()
                turn.set_result(None)

    async def _draw_while_needed(self) -> None:
        """Draw whenever somebody waits; give back when nobody has for a while, and end with the last place."""
        while True:
            self._changed.clear()
            try:
                pause_s = await self._draw_once()
            except (LeaseLostError, UnknownNameError) as error:
                self._refuse(error)
                return
            except CablewayError as error:
                log.warning("nothing can be drawn of the limit %s for the moment: %s", self._name, error)
                pause_s = IDLE_S
            self._admit()
            if not self._slots and not self._waiting:
                return
            if self._waiting:
                await asyncio.sleep(pause_s)
            else:
                await self._rest()

    async def _draw_once(self) -> float:
        """Draw what those who wait need; seconds until more can be had."""
        waiting = len(self._waiting)
        starts = 0 if self._any_start else max(waiting, round(self._per_s * BLOCK_S)) - max(0, self._starts)
        if not waiting:
            starts = 0
        drawn: Drawn = await in_thread(self._draw, self._name, self._in_use + waiting, self._in_use, max(0, starts))
        self._slots = drawn.slots
        self._per_s = drawn.per_s
        self._any_start = drawn.starts is None
        self._starts = max(0, self._starts) + (drawn.starts or 0)
        out_of_starts = not self._any_start and self._starts < len(self._waiting)
        return max(0.01, min(drawn.next_start_s, IDLE_S)) if out_of_starts else FULL_S

    async def _rest(self) -> None:
        """Wait until somebody waits again, or nobody has for a while; what was drawn lapses then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + IDLE_S
        while not self._waiting:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                self._starts = 0
                return

    def _refuse(self, error: CablewayError) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)
