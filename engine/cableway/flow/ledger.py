"""
The account of a run: every item that enters ends once, in exactly one way.

Nothing else counts items. Whoever makes an item calls `admit`, whoever is done with it calls `end`; at
the end of the run both must add up, else the run has lost or doubled something and fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from cableway.errors import AccountingError, ItemError
from cableway.flow.audience import Audience
from cableway.flow.clock import Clock
from cableway.flow.observer import Outcome
from cableway.flow.tracker import CompletionCallback, ItemTracker
from cableway.flow.turn import Turn
from cableway.items import Route, WorkItem, WorkItemResult

log = logging.getLogger("cableway.flow")

# Completion callbacks that are coroutines and still run; beyond this the workers wait for them.
CALLBACKS_AT_ONCE = 64


class Ledger:
    """Counts what enters and what ends, and tells those who want to know of each end."""

    def __init__(
        self,
        *,
        audience: Audience,
        clock: Clock,
        tracker: ItemTracker | None,
        callbacks: list[CompletionCallback],
        keep_data: bool,
        abort: Callable[[BaseException], None],
    ) -> None:
        self.audience = audience
        self.now_ns = clock.now_ns
        self.tracker = tracker
        self.active = tracker.active if tracker is not None else None
        self.first_route = tracker.routes[0] if tracker is not None else Route(())
        self.abort = abort
        self.turn = Turn(clock.now_ns)
        self.emitted = 0
        self.succeeded = 0
        self._others = dict.fromkeys(Outcome, 0)
        self.total_ns = 0
        self.cancelled = False
        self._kept = tracker is not None or bool(callbacks)
        self.unwatched = not callbacks and not keep_data
        self._callbacks = callbacks
        self._keep_data = keep_data
        self._ids: set[str] = set()
        self._running: set[asyncio.Future[Any]] = set()

    @property
    def ended(self) -> int:
        """How many items have ended."""
        return self.succeeded + sum(self._others.values())

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many items have ended in each way."""
        return {**self._others, Outcome.SUCCEEDED: self.succeeded}

    def admit(self, item: WorkItem, first_stage: int, on_duplicate: str) -> bool:
        """Take *item* into account; False when it is on its way already, and has been dealt with."""
        known = item.own_id
        if item.live or (known is not None and known in self._ids):
            return self._admit_twice(item, first_stage, on_duplicate)
        if known is not None:
            self._ids.add(known)
        self._begin(item, first_stage)
        return True

    def _begin(self, item: WorkItem, first_stage: int) -> None:
        self.emitted += 1
        item.live = True
        if self.tracker is not None:
            self.tracker.follow(item, first_stage)

    def _admit_twice(self, item: WorkItem, first_stage: int, on_duplicate: str) -> bool:
        if on_duplicate == "allow" and not item.live:
            self._begin(item, first_stage)
            return True
        twin = WorkItem(item.data, job_id=item.job_id)
        self._begin(twin, first_stage)
        if on_duplicate == "skip":
            self._close(twin, Outcome.SKIPPED, self.now_ns(), None)
        else:
            error = ItemError("duplicate_id", f"an item with the id {item.job_id!r} is on its way already")
            self._close(twin, Outcome.FAILED, self.now_ns(), error)
        return False

    def end(self, item: WorkItem, outcome: Outcome, at_ns: int, error: BaseException | None = None) -> None:
        """*item* has come to its one end."""
        if item.own_id is not None:
            self._ids.discard(item.own_id)
        self._close(item, outcome, at_ns, error)

    def _close(self, item: WorkItem, outcome: Outcome, at_ns: int, error: BaseException | None) -> None:
        item.live = False
        if outcome is Outcome.SUCCEEDED:
            self.succeeded += 1
        else:
            self._others[outcome] += 1
        self.total_ns += at_ns - item.created_ns
        if self.audience.item_ended is not None:
            self.audience.item_ended(item, outcome, at_ns)
        if self._kept:
            self._keep(item, outcome, at_ns, error)

    def _keep(self, item: WorkItem, outcome: Outcome, at_ns: int, error: BaseException | None) -> None:
        if self.tracker is not None:
            result = self.tracker.complete(item, outcome, at_ns, error)
        else:
            result = item.follow(Route(()), [item.created_ns])
            item.trail = None
            result.end(outcome, at_ns, error, item.data)
        answers = [answer for callback in self._callbacks if (answer := self._call(callback, result)) is not None]
        if answers:
            task = asyncio.get_running_loop().create_task(self._await(answers, result))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        elif not self._keep_data:
            result.data = None

    def _call(self, callback: CompletionCallback, result: WorkItemResult) -> Awaitable[Any] | None:
        try:
            answer = callback(result)
        except Exception:
            log.exception("a completion callback raised on item %s", result.job_id)
            return None
        return answer if isinstance(answer, Awaitable) else None

    async def _await(self, answers: list[Awaitable[Any]], result: WorkItemResult) -> None:
        for answer in answers:
            try:
                await answer
            except Exception:
                log.exception("a completion callback raised on item %s", result.job_id)
        if not self._keep_data:
            result.data = None

    @property
    def crowded(self) -> bool:
        """Whether so many callbacks run that the workers should wait for some."""
        return len(self._running) >= CALLBACKS_AT_ONCE

    async def relief(self) -> None:
        """Wait until a callback has ended."""
        if self._running:
            await asyncio.wait(tuple(self._running), return_when=asyncio.FIRST_COMPLETED)

    async def settled(self, longest_s: float) -> None:
        """Wait for the callbacks that still run, at most *longest_s*; cancel those that take longer."""
        if self._running:
            _, late = await asyncio.wait(tuple(self._running), timeout=longest_s)
            for task in late:
                task.cancel()

    def check(self) -> None:
        """Raise `AccountingError` unless every item that entered has ended."""
        if self.emitted != self.ended:
            counts = ", ".join(f"{outcome} {count}" for outcome, count in self.outcomes.items() if count)
            raise AccountingError(f"{self.emitted} items were emitted and {self.ended} ended ({counts or 'none'})")
