"""
What earlier attempts of a line have left: keys in the exporters' ledgers, and units that failed for good.

From the keys follow two things. Source items that every exporter has are not worked on again: the cursor, which may
lag, is moved up past them as they are read. And batches are cut where they were cut before, for a range that one
exporter has must reach the others as the same range.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cableway.items import WorkItem
    from cableway.store.port import DeadUnit

Order = tuple[float, ...]

LAST: Order = (math.inf,)


class Recovered:
    """Known before the first item. *keys* are by exporter; *batch_stages* say where an exporter's batches are made.

    *finishes*: what all ledgers have needs no work any more. *dead* are units that failed.
    """

    def __init__(
        self,
        keys: Mapping[str, Iterable[str]],
        batch_stages: Mapping[str, int],
        *,
        finishes: bool,
        dead: Iterable[DeadUnit] = (),
    ) -> None:
        by_bloc = {name: frozenset(found) for name, found in keys.items()}
        dead = frozenset(dead)
        self.dead = frozenset(unit[:3] for unit in dead)
        self.settled = settled_among(dead)
        """What of it a replay has brought through, with all else that came of its source item: by stage and item."""
        self.own_settled = self.settled & {(unit.stage, unit.item_id) for unit in dead if unit.own}
        """Of that, what failed in this run."""
        self._failed = {source_of(unit.item_id) for unit in dead}
        self._order = _Orders()
        ledgers = [_Ledger(found) for found in by_bloc.values()]
        self._ledgers = ledgers if finishes and all(found for found in by_bloc.values()) else []
        self._cuts: dict[int, KnownCuts] = {}
        for stage in set(batch_stages.values()):
            behind = [by_bloc.get(name, frozenset[str]()) for name, number in batch_stages.items() if number == stage]
            cuts = KnownCuts(behind, self._order, finishes=finishes and len(behind) == len(by_bloc))
            if cuts.waiting:
                self._cuts[stage] = cuts

    def cuts(self, stage: int) -> KnownCuts | None:
        """Where the batches of the stage of this number were cut, if any was."""
        return self._cuts.get(stage)

    def finished(self, item_id: str) -> bool:
        """The source gives *item_id* next, in its order: whether nothing is left to do with it."""
        if self._cuts:
            self._order.came(item_id)
            for cuts in self._cuts.values():
                cuts.came(item_id)
        # Each of them has to see every item. One that failed comes in to be counted as failed once more.
        there = [ledger.has(item_id) for ledger in self._ledgers]
        return bool(there) and all(there) and item_id not in self._failed


class _Orders:
    """The order of items that a source gave, and of what comes out of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def came(self, item_id: str) -> None:
        self._numbers.setdefault(item_id, len(self._numbers))

    def of(self, item_id: str) -> Order:
        """Of a batch that of its first member; `LAST` while its source item has not come yet."""
        source, *path = item_id.partition("..")[0].split(".")
        number = self._numbers.get(source)
        return LAST if number is None else (number, *(int(part) if part.isdigit() else 0 for part in path))


class _Ledger:
    """One exporter's keys, asked about source items in their order."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._single = keys
        self._ends: dict[str, tuple[str, str]] = {}
        for key in keys:
            first, found, last = key.partition("..")
            # Of a last member with a dot it is not sure whether it is one, or came out of the batch.
            if found and "." not in last:
                self._ends[source_of(first)] = first, last
        self._until: str | None = None

    def has(self, item_id: str) -> bool:
        if self._until is not None:
            if self._until == item_id:
                self._until = None
            return True
        begun = self._ends.get(item_id)
        if begun is None:
            return item_id in self._single
        first, last = begun
        self._until = None if last == item_id else last
        return first == item_id  # of an item whose first children are in another batch not everything is there


def settled_among(dead: Collection[DeadUnit]) -> frozenset[tuple[str, str]]:
    """Stage and item of the units of *dead* whose source items have none that is still to be replayed."""
    unsettled = {source_of(unit.item_id) for unit in dead if not unit.resolved}
    return frozenset((unit.stage, unit.item_id) for unit in dead if source_of(unit.item_id) not in unsettled)


def source_of(item_id: str) -> str:
    """The source item that *item_id* came out of."""
    return item_id.partition(".")[0]


def sources_of(keys: Iterable[Iterable[str]], prefix: str) -> Iterator[str]:
    """The positions of the source items that *keys* came out of; of a batch its two ends."""
    for found in keys:
        for key in found:
            for end in key.split(".."):
                yield source_of(end).removeprefix(prefix)


class KnownRange:
    """A batch that was made before, by its ends."""

    def __init__(self, first: str, last: str, *, finished: bool) -> None:
        self.first = first
        self.last = last
        self.finished = finished

    def ends_with(self, item: WorkItem) -> bool:
        """Whether *item* is the last member. Where the batch fanned out, the key goes on behind it."""
        return self.last == item.job_id or self.last.startswith(f"{item.job_id}.")

    def name(self, members: Sequence[WorkItem]) -> str:
        """The key that it had, though members at its ends may have failed now."""
        last = members[-1]
        return f"{self.first}..{last.job_id if self.ends_with(last) else self.last}"


class KnownCuts:
    """The batches of one stage that are in the ledgers of exporters behind it, in the order of the source."""

    def __init__(self, keys: Sequence[frozenset[str]], order: _Orders, *, finishes: bool) -> None:
        self._order = order
        everywhere = frozenset[str].intersection(*keys) if keys and finishes else frozenset[str]()
        self.waiting: dict[str, dict[str, KnownRange]] = {}
        for key in sorted(frozenset[str]().union(*keys)):
            first, found, last = key.partition("..")
            if found:
                known = KnownRange(first, last, finished=key in everywhere and "." not in last)
                self.waiting.setdefault(source_of(first), {}).setdefault(first, known)
        self._upcoming: deque[KnownRange] = deque()
        self._current: KnownRange | None = None

    def came(self, item_id: str) -> None:
        """The source gave *item_id*: batches that begin with it, or with something out of it, come next."""
        begun = self.waiting.pop(item_id, None)
        if begun is not None:
            self._upcoming.extend(sorted(begun.values(), key=lambda known: self._order.of(known.first)))

    def known_batch(self, item: WorkItem) -> KnownRange | None:
        """As `Cuts.known_batch`."""
        at = self._order.of(item.job_id)
        while self._current is None or at > self._end_of(self._current):
            if not self._upcoming or self._order.of(self._upcoming[0].first) > at:
                self._current = None
                return None
            self._current = self._upcoming.popleft()
        return self._current

    def _end_of(self, known: KnownRange) -> Order:
        return self._order.of(known.last)


class Cutter:
    """What a batching stage asks: where to cut, once that is known, and whether what failed before is stored."""

    def __init__(self) -> None:
        self.known: KnownCuts | None = None
        self.stored: Callable[[], Awaitable[None]] | None = None

    def known_batch(self, item: WorkItem) -> KnownRange | None:
        """As `Cuts.known_batch`."""
        return None if self.known is None else self.known.known_batch(item)

    async def ready(self) -> None:
        """As `Cuts.ready`."""
        if self.stored is not None:
            await self.stored()
