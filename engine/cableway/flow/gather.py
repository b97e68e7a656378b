"""All items become one: a gather holds what they add up to, and not the items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cableway.flow.attempt import failure, is_ours
from cableway.flow.bloc import Fold
from cableway.flow.channel import Hand
from cableway.flow.config import Gather
from cableway.flow.sizes import size_of
from cableway.flow.visit import Visit
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.stage import Stage

# The state of a fold is weighed after the first, second, fourth, ... item, and then every so many.
WEIGH_EVERY = 1024


class Gatherer:
    """Folds what comes, once for each bloc of the stage, and makes the one item at the end.

    A run that brings no item here makes none. The item's data is the folded state, or where the stage
    has several blocs a dict of theirs by name; each bloc sees its own.
    """

    def __init__(self, stage: Stage, gather: Gather) -> None:
        self._stage = stage
        self._max_bytes = gather.max_bytes
        self._folds = {unit.bloc.name: unit.bloc.fold for unit in stage.units}
        self._states: dict[str, Any] = {name: fold.initial() if fold else [] for name, fold in self._folds.items()}
        self._bytes = 0
        self._count = 0
        self._made: WorkItem | None = None

    async def run(self, hand: Hand) -> None:
        """Fold everything that comes, then queue the one item for a worker."""
        inbox = self._stage.inbox
        while await inbox.wait():
            hand.item = inbox.take()
            self._fold(hand)
        if self._made is not None and not self._stage.ledger.cancelled:
            hand.item, self._made = self._made, None
            await self._finish(hand)
        self._stage.queue.close()

    def _fold(self, hand: Hand) -> None:
        stage, item = self._stage, hand.item
        began = stage.now_ns()
        for name, fold in self._folds.items():
            try:
                self._add(name, fold, item)
            except BaseException as error:
                if is_ours(error):
                    raise
                stage.took(item, stage.now_ns())
                stage.fail(hand, name, failure(error), 1)
                return
        stage.counts.service.add(stage.now_ns() - began)
        self._count += 1
        if self._made is None:
            self._made = WorkItem(None, job_id="gather")
            stage.ledger.admit(self._made, stage.index, "allow")
        if stage.audience.item_derived is not None:
            stage.audience.item_derived((item,), (self._made,), stage.name, "gather")
        stage.merge_in(hand)
        if self._weight() > self._max_bytes:
            stage.gather_too_large(self._max_bytes)

    def _add(self, name: str, fold: Fold | None, item: WorkItem) -> None:
        if fold is None:
            self._states[name].append(item.data)
            self._bytes += size_of(item.data)
        else:
            self._states[name] = fold.add(self._states[name], item)

    def _weight(self) -> int:
        count = self._count
        if count & (count - 1) == 0 or count % WEIGH_EVERY == 0:
            folded = sum(size_of(self._states[name]) for name, fold in self._folds.items() if fold is not None)
            return self._bytes + folded
        return self._bytes

    async def _finish(self, hand: Hand) -> None:
        stage, made = self._stage, hand.item
        stage.arrived(made)
        finished: dict[str, Any] = {}
        for name, fold in self._folds.items():
            try:
                finished[name] = fold.finish(self._states[name]) if fold is not None else self._states[name]
            except BaseException as error:
                if is_ours(error):
                    raise
                stage.took(made, stage.now_ns())
                stage.fail(hand, name, failure(error), 1)
                return
        self._states.clear()
        await self._queue(hand, finished)

    async def _queue(self, hand: Hand, finished: dict[str, Any]) -> None:
        stage, made = self._stage, hand.item
        if len(finished) == 1:
            (made.data,) = finished.values()
            visit = Visit(made)
        else:
            made.data = finished
            views = {name: WorkItem(data, made.metadata, made.job_id) for name, data in finished.items()}
            visit = Visit(made, views=views)
        if stage.queue.closed:
            stage.cancel(hand)
            return
        hand.item = None
        stage.queue.place(visit)

    def sweep(self) -> list[WorkItem]:
        """Take out the item that was being gathered, for the run is being cancelled."""
        made, self._made = self._made, None
        return [] if made is None else [made]
