"""
How far the source has been worked off: up to the first of its items that is not finished with all that came of it.

`CursorKeeper` listens to the flow. It holds what is open and nothing else: a source item that is finished is
unlinked, and what it counted goes to the open one before it, so that the counts below the cursor are at hand
whenever somebody asks. The newest item counts as open until the next one comes, for where to go on behind it is
not known before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cableway.errors import ENDS_ATTEMPT
from cableway.flow.observer import Observer, Outcome

if TYPE_CHECKING:
    from cableway.flow.observer import Derivation, FlowEnded
    from cableway.items import WorkItem


_SUCCEEDED = Outcome.SUCCEEDED
_CUT_SHORT = frozenset({Outcome.CANCELLED, Outcome.LOST})


@dataclass(frozen=True, slots=True)
class Mark:
    """How far it is: where to go on (None: nothing was read yet), and what was counted below that."""

    position: str | None
    counts: Mapping[str, int]


class Completion(Observer):
    """Sees at the end whether everything is finished. Costs nothing for an item."""

    def __init__(self) -> None:
        self.complete = False
        self._cut_short = False

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """What failed only because the attempt ends is not finished."""
        if isinstance(error, ENDS_ATTEMPT):
            self._cut_short = True

    def run_ended(self, event: FlowEnded) -> None:
        """Whether nothing was cut short."""
        cut_short = event.outcomes.get(Outcome.CANCELLED, 0) + event.outcomes.get(Outcome.LOST, 0)
        self.complete = event.error is None and event.emitted > 0 and not (cut_short or self._cut_short)

    def mark(self) -> Mark:
        """Where the cursor stands now."""
        return Mark(None, {})


class _SourceItem:
    """An open source item: what holds it open, and what it and those finished behind it have counted."""

    __slots__ = ("after", "before", "emitted", "failed", "holds", "position", "skipped")

    def __init__(self, position: str, before: _SourceItem | None) -> None:
        self.position = position
        self.before = before
        self.after: _SourceItem | None = None
        self.holds = 2  # of the item itself, and of being the newest
        self.emitted = 1
        self.failed = self.skipped = 0


class CursorKeeper(Completion):
    """Follows every item of a flow whose *first* stage makes the source items.

    *passed_before* says how many source items were passed over before one, as finished by earlier attempts.
    """

    def __init__(self, first: str, passed_before: dict[str, int] | None = None) -> None:
        super().__init__()
        self._first = first
        self._passed_before = {} if passed_before is None else passed_before
        self._base = self._newest = self._last = _SourceItem("", None)
        self._base.emitted = 0
        self._owners: dict[WorkItem, _SourceItem | tuple[_SourceItem, ...]] = {}

    def mark(self) -> Mark:
        """Where the cursor stands now."""
        first, base = self._base.after, self._base
        succeeded = base.emitted - base.failed - base.skipped
        counts = {"emitted": base.emitted, "succeeded": succeeded, "failed": base.failed, "skipped": base.skipped}
        return Mark(None if first is None else first.position, counts)

    def item_derived(
        self, parents: Sequence[WorkItem], children: Sequence[WorkItem], stage: str, how: Derivation
    ) -> None:
        """A new source item, or more of those that are open."""
        if stage == self._first and how == "fan_out":
            item, previous, last = children[0], self._newest, self._last
            if self._passed_before:
                last.emitted += self._passed_before.pop(item.job_id, 0)
            self._owners[item] = self._newest = self._last = last.after = _SourceItem(item.job_id, last)
            previous.holds -= 1
            if not previous.holds:
                self._unlink(previous)
            return
        found: dict[_SourceItem, None] = {}
        for parent in parents:
            known = self._owners.get(parent, ())
            for each in (known,) if isinstance(known, _SourceItem) else known:
                found[each] = None
        for item in children if found else ():
            self._own(item, tuple(found))

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """What failed only because the attempt ends is not finished."""
        super().item_failed(item, stage, bloc, error, attempts, at_ns)
        if isinstance(error, ENDS_ATTEMPT):
            self._owners.pop(item, None)

    def item_ended(self, item: WorkItem, outcome: Outcome, at_ns: int) -> None:
        """One hold less; what was cut short is never finished."""
        known = self._owners.pop(item, None)
        if type(known) is _SourceItem and outcome is _SUCCEEDED:
            known.holds -= 1
            if not known.holds:
                self._unlink(known)
        elif known is not None and outcome not in _CUT_SHORT:
            self._end((known,) if isinstance(known, _SourceItem) else known, outcome)

    def _end(self, owners: tuple[_SourceItem, ...], outcome: Outcome) -> None:
        if outcome is Outcome.FAILED:
            owners[-1].failed += 1
        elif outcome is Outcome.SKIPPED:
            owners[-1].skipped += 1
        for owner in owners:
            owner.holds -= 1
            if not owner.holds:
                self._unlink(owner)

    def _own(self, item: WorkItem, owners: tuple[_SourceItem, ...]) -> None:
        """*item* belongs to *owners*, and is counted with the last of them."""
        for owner in owners:
            owner.holds += 1
        owners[-1].emitted += 1
        self._owners[item] = owners[0] if len(owners) == 1 else owners

    def _unlink(self, done: _SourceItem) -> None:
        before, after = done.before, done.after
        if before is None:
            raise AssertionError("the base of the list is never finished")
        before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before
        before.emitted += done.emitted
        before.failed += done.failed
        before.skipped += done.skipped
