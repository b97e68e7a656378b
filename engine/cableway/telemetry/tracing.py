"""
The observer that traces: it keeps what the flow measures and makes spans only of the items it keeps.

The trace of a run: one root span, continuing the caller's trace; under it a span per item; under
that, per stage, its wait and its work, and where a stage has several blocs one per bloc. A span
made in a child worker hangs under its unit's. Items are children of the run and not of the items
they came from, which are linked: a trace of any run is three levels deep, every level can be sorted
by time, and no item's span depends on another item having been kept.

Kept are the items that sampling draws, all that failed, the slowest, and those whose id was asked for.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cableway.flow.observer import Derivation, FlowEnded, FlowStarted, Observer, Outcome
from cableway.telemetry.propagation import IdPool, carrier_of
from cableway.telemetry.record import (
    BLOC,
    ERROR_TYPE,
    EVENTS_LIMIT,
    LINKS_LIMIT,
    MEMBERS_LIMIT,
    STAGE,
    Attributes,
    SpanEvent,
    SpanLink,
    SpanRecord,
    text,
)
from cableway.telemetry.sampling import number_of
from cableway.telemetry.trail import (
    BAD_OUTCOMES,
    BlocMark,
    ItemTrail,
    Notes,
    TrailSpans,
    error_code,
    failure_of,
    note_retry,
)
from cableway.telemetry.worker import child_spans

if TYPE_CHECKING:
    from cableway.items import WorkItem
    from cableway.telemetry.local import LocalSpans
    from cableway.telemetry.metrics import RunMetrics

SLOWEST = 10
"""How many of the slowest items are kept besides the drawn ones."""

Offer = Callable[[ItemTrail | SpanRecord], None]


class TraceObserver(Observer):
    """Traces one run. *threshold* is sampling's; *offer* takes what is to be exported, *local* what is kept here."""

    worker_hook = "cableway.telemetry.worker:SpanHook"

    def __init__(
        self,
        spans: TrailSpans,
        *,
        threshold: int,
        offer: Offer | None = None,
        local: LocalSpans | None = None,
        metrics: RunMetrics | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.spans = spans
        self.events: list[SpanEvent] = []
        self._ids = IdPool()
        self._threshold = threshold
        self._offer = offer
        self._local = local
        self._metrics = metrics
        self._redact = redact
        self._stages: tuple[str, ...] = ()
        self._several: frozenset[str] = frozenset()
        self._times: dict[WorkItem, list[int]] = {}
        self._begins: dict[WorkItem, int] = {}
        self._blocs: dict[WorkItem, list[BlocMark]] = {}
        self._notes: dict[WorkItem, Notes] = {}
        self._waiting: dict[str, Notes] = {}
        self._slowest: list[tuple[int, int, ItemTrail]] = []
        self._slow_ns = 0
        self._ended = 0
        self._unsampled = carrier_of(spans.trace_id, spans.parent_id, spans.tracestate, sampled=False)

    def run_started(self, event: FlowStarted) -> None:
        """Learn the stages, their lanes, and which of them have several blocs."""
        self._stages = tuple(name for name, _, _ in event.stages)
        self._several = frozenset(name for name, blocs, _ in event.stages if len(blocs) > 1)
        self.spans.lanes.update({name: lane for name, _, lane in event.stages})
        if self._metrics is not None:
            self._metrics.begin(event.pipeline, [(name, lane) for name, _, lane in event.stages], self.depths)

    def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """Note the reading; a second one for the same stage is a retry's and says nothing new."""
        times = self._times.get(item)
        if times is None:
            self._begin(item, stage).append(at_ns)
        elif len(times) % 3 == 0:
            times.append(at_ns)

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """Note the reading of the first attempt."""
        times = self._times.get(item)
        if times is None:
            times = self._begin(item, stage)
        place = len(times) % 3
        if place == 1:
            times.append(at_ns)
        elif place == 0:
            # It was made by the stage that works on it, so it never waited.
            times += (at_ns, at_ns)

    def item_finished(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """Note the reading."""
        times = self._times.get(item)
        if times is not None and len(times) % 3 == 2:
            times.append(at_ns)

    def bloc_started(self, item: WorkItem, stage: str, bloc: str, at_ns: int) -> None:
        """Note when a bloc began."""
        self._blocs.setdefault(item, []).append(BlocMark(stage, bloc, at_ns))

    def bloc_finished(self, item: WorkItem, stage: str, bloc: str, error: BaseException | None, at_ns: int) -> None:
        """Note when a bloc ended, and how."""
        code = "" if error is None else error_code(error)
        self._blocs.setdefault(item, []).append(BlocMark(stage, bloc, at_ns, code))

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """Keep the failure's words."""
        failure = failure_of(error, self._redact, stage=stage, bloc=bloc, attempts=attempts, at_ns=at_ns)
        self._notes_of(item).failure = failure
        if self._metrics is not None:
            self._metrics.failure(stage, bloc, failure.code)

    def item_retried(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempt: int, delay_s: float
    ) -> None:
        """Keep the failed attempt as an event."""
        now_ns = time.monotonic_ns()
        retry = failure_of(error, self._redact, stage=stage, bloc=bloc, attempts=attempt, at_ns=now_ns, delay_s=delay_s)
        note_retry(self._notes_of(item), retry)
        if self._metrics is not None:
            self._metrics.retry(stage, bloc)

    def item_derived(
        self, parents: Sequence[WorkItem], children: Sequence[WorkItem], stage: str, how: Derivation
    ) -> None:
        """Link the children that are drawn to those of their parents that have a span."""
        for child in children:
            # There is one gather a stage, and it is where everything meets: always worth a span.
            if how == "gather" or self.is_drawn(child):
                notes = self._notes_of(child)
                notes.wanted |= how == "gather"
                notes.derivation = how
                self._note_parents(notes, parents)

    def item_ended(self, item: WorkItem, outcome: Outcome, at_ns: int) -> None:
        """Decide whether the item gets spans. Most do not, and are forgotten here."""
        self._ended += 1
        times = self._times.pop(item, None) or []
        begins = self._begins.pop(item, 0) if self._begins else 0
        blocs = self._blocs.pop(item, ()) if self._blocs else ()
        notes = self._notes.pop(item, None) if self._notes else None
        if self._metrics is not None:
            self._metrics.item(begins, times, outcome)
        lasted_ns = at_ns - times[0] if times else 0
        number = number_of(item.created_ns)
        slow = lasted_ns > self._slow_ns
        if not (slow or number < self._threshold or outcome in BAD_OUTCOMES or (notes is not None and notes.wanted)):
            if notes is not None:
                self._let_go(notes)
            return
        notes = notes or Notes(self._ids.span_id())
        trail = ItemTrail(item.job_id, outcome, self._stages[begins:], times, at_ns, notes, blocs=blocs, number=number)
        self._let_go(notes)
        if slow:
            self._rank(lasted_ns, trail)
        if number < self._threshold or outcome in BAD_OUTCOMES or notes.wanted:
            self._keep(trail)

    def worker_died(self, stage: str, bloc: str, reason: str, jobs: Sequence[str]) -> None:
        """Say so on the run's span."""
        if len(self.events) < EVENTS_LIMIT:
            about: Attributes = {STAGE: stage, BLOC: bloc, ERROR_TYPE: text(reason)}
            if jobs:
                about["cableway.item.ids"] = tuple(map(text, jobs[:MEMBERS_LIMIT]))
            self.events.append(SpanEvent("worker died", self.spans.clock.unix_ns(time.monotonic_ns()), about))

    def worker_reported(self, stage: str, bloc: str, report: Sequence[Any]) -> None:
        """Take the spans that a child made; each joins the item that it belongs to."""
        for span in child_spans(report, self.spans, stage, bloc):
            notes = self._waiting.get(span.parent_id or "")
            if notes is not None:
                notes.children.append(span)
                continue
            if self._offer is not None:
                self._offer(span)
            if self._local is not None:
                self._local.keep_late(span)

    def carrier(self, item: WorkItem, stage: str, bloc: str) -> Mapping[str, str] | None:
        """The context of the unit's span, or of the run's, unsampled, for an item that is not drawn."""
        if item not in self._times or not self.is_drawn(item):
            return self._unsampled
        span_id = self.unit_id(item, stage, bloc if stage in self._several else "")
        return carrier_of(self.spans.trace_id, span_id, self.spans.tracestate, sampled=True)

    def unit_id(self, item: WorkItem, stage: str, bloc: str) -> str:
        """The id that the span of *item* in *stage* will have, or with a *bloc* that bloc's."""
        notes = self._notes_of(item)
        span_id = notes.ids.get((stage, bloc))
        if span_id is None:
            span_id = notes.ids[stage, bloc] = self._ids.span_id()
            self._waiting[span_id] = notes
        return span_id

    def is_drawn(self, item: WorkItem) -> bool:
        """Whether sampling has chosen *item*, or something is known of it that is worth a span."""
        return item in self._notes or number_of(item.created_ns) < self._threshold

    @property
    def held(self) -> int:
        """How many things it holds about items that have not ended."""
        states = (self._times, self._begins, self._blocs, self._notes, self._waiting)
        return sum(len(state) for state in states)

    def run_ended(self, event: FlowEnded) -> None:
        """Keep the slowest, and forget what never ended."""
        for _, _, trail in self._slowest:
            if not trail.offered:
                self._export(trail)
        for each in (self._times, self._begins, self._blocs, self._notes, self._waiting):
            each.clear()

    def span_context(self, item: WorkItem) -> tuple[str, str]:
        """Trace id and span id of *item*, which is kept from now on. Only while the item is on its way."""
        notes = self._notes_of(item)
        notes.wanted = True
        return self.spans.trace_id, notes.span_id

    def depths(self) -> dict[str, tuple[int, int]]:
        """For each stage, how many items wait before it and how many are in work. Safe from any thread."""
        found = {stage: [0, 0] for stage in self._stages}
        begins = self._begins
        for item, times in list(self._times.items()):
            place, phase = divmod(len(times) - 1, 3)
            stage = place + begins.get(item, 0)
            if 0 <= phase < 2 and 0 <= stage < len(self._stages):
                found[self._stages[stage]][phase] += 1
        return {stage: (waiting, in_work) for stage, (waiting, in_work) in found.items()}

    def slowest(self) -> list[ItemTrail]:
        """The slowest items that have ended, the slowest first."""
        return [trail for _, _, trail in sorted(self._slowest, key=lambda entry: -entry[0])]

    def build(self, trail: ItemTrail) -> list[SpanRecord]:
        """The spans of *trail*."""
        return self.spans.of(trail)

    def _begin(self, item: WorkItem, stage: str) -> list[int]:
        times = self._times[item] = []
        if stage != self._stages[0]:
            self._begins[item] = self._stages.index(stage)
        return times

    def _notes_of(self, item: WorkItem) -> Notes:
        notes = self._notes.get(item)
        if notes is None:
            notes = self._notes[item] = Notes(self._ids.span_id())
        return notes

    def _note_parents(self, notes: Notes, parents: Sequence[WorkItem]) -> None:
        notes.parents_count += len(parents)
        for parent in parents:
            if len(notes.parents) < MEMBERS_LIMIT:
                notes.parents.append(parent.job_id)
            if len(notes.links) >= LINKS_LIMIT:
                return
            if parent in self._times and self.is_drawn(parent):
                notes.links.append(SpanLink(self.spans.trace_id, self._notes_of(parent).span_id))

    def _rank(self, lasted_ns: int, trail: ItemTrail) -> None:
        entry = (lasted_ns, self._ended, trail)
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, entry)
        else:
            heapq.heapreplace(self._slowest, entry)
        if len(self._slowest) == SLOWEST:
            self._slow_ns = self._slowest[0][0]

    def _keep(self, trail: ItemTrail) -> None:
        self._export(trail)
        if self._local is not None:
            self._local.keep(trail)
            if self._offer is None:
                self._threshold = self._local.threshold

    def _export(self, trail: ItemTrail) -> None:
        trail.offered = True
        if self._offer is not None:
            self._offer(trail)

    def _let_go(self, notes: Notes) -> None:
        for span_id in notes.ids.values():
            self._waiting.pop(span_id, None)
