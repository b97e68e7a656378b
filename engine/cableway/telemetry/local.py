"""
The bounded copy of a run's spans that is kept with the run.

What a reader looks for first has its place: the run itself, then failed items and those that
somebody points to, then the slowest, then an even sample of the others. The sample thins itself:
when it is full, the share that is kept is halved and what no longer belongs is let go, so a run of
any length leaves the same number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from cableway.telemetry.record import SpanRecord
from cableway.telemetry.trail import BAD_OUTCOMES, ItemTrail

SPANS_LIMIT = 1_000
"""Spans kept of one run."""


class LocalSpans:
    """Chooses which trails are kept."""

    def __init__(self, threshold: int, limit: int = SPANS_LIMIT) -> None:
        self.threshold = threshold
        self.left_out = 0
        """Spans that were given and are not among those that `spans` returned."""
        self._given = 0
        self._limit = limit
        self._sure: list[ItemTrail] = []
        self._sure_spans = 0
        self._sampled: list[ItemTrail] = []
        self._sampled_spans = 0
        self._late: deque[SpanRecord] = deque(maxlen=limit // 4)

    def keep(self, trail: ItemTrail) -> None:
        """Take *trail* as one that is kept for sure or as part of the sample, if there is room for it."""
        count = self._count(trail)
        sure = trail.notes.wanted or trail.outcome in BAD_OUTCOMES
        if sure and self._sure_spans + count <= self._limit // 2:
            self._sure.append(trail)
            self._sure_spans += count
        elif trail.number < self.threshold:
            self._sampled.append(trail)
            self._sampled_spans += count
            self._thin()

    def keep_late(self, span: SpanRecord) -> None:
        """Take a child's span that came home after its item had ended."""
        self._given += 1
        self._late.append(span)

    def _count(self, trail: ItemTrail) -> int:
        count = trail.span_count
        if not trail.counted:
            trail.counted = True
            self._given += count
        return count

    def _thin(self) -> None:
        while self._sampled_spans > self._limit // 2 and len(self._sampled) > 1:
            self.threshold //= 2
            self._sampled = [trail for trail in self._sampled if trail.number < self.threshold]
            self._sampled_spans = sum(trail.span_count for trail in self._sampled)

    def spans(
        self, first: SpanRecord, slowest: Iterable[ItemTrail], build: Callable[[ItemTrail], list[SpanRecord]]
    ) -> list[SpanRecord]:
        """*first*, then whole items by their rank until the bound is reached, then their late children."""
        kept = [first]
        seen: set[int] = set()
        for trail in (*self._sure, *slowest, *self._sampled):
            if id(trail) in seen or len(kept) + self._count(trail) > self._limit:
                continue
            seen.add(id(trail))
            kept += build(trail)
        there = {span.span_id for span in kept}
        kept += [span for span in self._late if span.parent_id in there][: self._limit - len(kept)]
        self.left_out = self._given - (len(kept) - 1)
        return kept
