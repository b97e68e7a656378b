"""
An item's way through the stages, kept as readings of the clock; made into spans only when it is shown.

`ItemTrail` holds what the flow measured anyway, so an item that nobody looks at costs no span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cableway.errors import CablewayError, ItemError
from cableway.flow.observer import Derivation, Outcome
from cableway.telemetry.propagation import SpanIds
from cableway.telemetry.record import (
    ATTEMPTS,
    BLOC,
    DELAY_S,
    DERIVATION,
    ERROR_TYPE,
    EVENTS_LIMIT,
    EXCEPTION_MESSAGE,
    EXCEPTION_TYPE,
    ITEM_ID,
    ITEM_PARENTS,
    ITEM_PARENTS_COUNT,
    LANE,
    OUTCOME,
    SPAN_TYPE,
    STAGE,
    Attributes,
    Clock,
    SpanEvent,
    SpanLink,
    SpanRecord,
    text,
)

HOOK_NS = 1_000_000
"""The longest that a child's hook takes on either side of the unit."""

BAD_OUTCOMES = frozenset({Outcome.FAILED, Outcome.LOST})


class Failure(NamedTuple):
    """A unit that failed, in words that can be kept."""

    stage: str
    bloc: str
    code: str
    exception: str
    message: str
    attempts: int
    at_ns: int
    delay_s: float | None = None
    """Seconds until it is tried again; None where it failed for good."""


class BlocMark(NamedTuple):
    """A bloc began or ended an attempt at an item. ``code`` is None for a beginning and empty for a good end."""

    stage: str
    bloc: str
    at_ns: int
    code: str | None = None


class Notes:
    """What is known of an item beyond its times; most have none.

    ``ids`` are span ids by stage and bloc that were given out before the spans are made; ``wanted`` says
    that somebody holds the item's own, so that it must be kept.
    """

    __slots__ = (
        "children",
        "derivation",
        "failure",
        "ids",
        "links",
        "parents",
        "parents_count",
        "retries",
        "span_id",
        "wanted",
    )

    def __init__(self, span_id: str) -> None:
        self.span_id = span_id
        self.ids: dict[tuple[str, str], str] = {}
        self.wanted = False
        self.failure: Failure | None = None
        self.retries: list[Failure] = []
        self.derivation: Derivation | None = None
        self.parents: list[str] = []
        self.parents_count = 0
        self.links: list[SpanLink] = []
        self.children: list[SpanRecord] = []


class ItemTrail:
    """One ended item. ``times`` are queued, started and completed for each of ``stages`` in turn, as far as it came.

    ``number`` is where sampling put it: it is kept while that is below the threshold. ``offered`` says that
    it was given to the exporter, ``counted`` that the local copy has counted it.
    """

    __slots__ = ("blocs", "counted", "ended_ns", "item_id", "notes", "number", "offered", "outcome", "stages", "times")

    def __init__(
        self,
        item_id: str,
        outcome: Outcome,
        stages: Sequence[str],
        times: Sequence[int],
        ended_ns: int,
        notes: Notes,
        *,
        blocs: Sequence[BlocMark] = (),
        number: int = 0,
    ) -> None:
        self.item_id = item_id
        self.outcome = outcome
        self.stages = stages
        self.times = times
        self.ended_ns = ended_ns
        self.notes = notes
        self.blocs = blocs
        self.number = number
        self.offered = False
        self.counted = False

    @property
    def began_ns(self) -> int:
        """When it was first queued; an item that never was begins as it ends."""
        return self.times[0] if self.times else self.ended_ns

    @property
    def span_count(self) -> int:
        """How many spans `TrailSpans.of` will make, without making them."""
        waits = (len(self.times) + 2) // 3
        works = (len(self.times) + 1) // 3
        blocs = len({(mark.stage, mark.bloc) for mark in self.blocs}) if self.blocs else 0
        return 1 + waits + works + blocs + len(self.notes.children)


class TrailSpans:
    """Makes spans of trails, below the run's span *parent_id*: the same for the export and for the local copy."""

    def __init__(self, trace_id: str, parent_id: str, tracestate: str = "") -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.tracestate = tracestate
        self.clock = Clock()
        self.lanes: dict[str, str] = {}

    def of(self, trail: ItemTrail) -> list[SpanRecord]:
        """The item's spans: itself, then for each stage its wait, its work, and its blocs where it has several.

        The same trail gives the same spans, ids included, in whichever thread.
        """
        notes = trail.notes
        ids = SpanIds(notes.span_id)
        item = self._item(trail)
        spans = [item]
        blocs = _by_bloc(trail.blocs)
        for index in range((len(trail.times) + 2) // 3):
            stage = trail.stages[index]
            queued_ns, started_ns, completed_ns = _visit(trail, index)
            wait_end = trail.ended_ns if started_ns is None else started_ns
            spans.append(self._span(trail, "wait", stage, ids.next(), item.span_id, queued_ns, wait_end))
            if started_ns is None:
                continue
            work_id = notes.ids.get((stage, "")) or ids.next()
            work_end = trail.ended_ns if completed_ns is None else completed_ns
            work = self._span(trail, "work", stage, work_id, item.span_id, started_ns, work_end)
            spans.append(work)
            within = {
                bloc: self._bloc(trail, stage, bloc, marks, work_id, ids)
                for bloc, marks in blocs.get(stage, {}).items()
            }
            self._tell(trail, stage, work, within)
            spans += within.values()
        if notes.children:
            _fit_in(notes.children, spans)
        return spans + notes.children

    def _item(self, trail: ItemTrail) -> SpanRecord:
        notes = trail.notes
        attributes: Attributes = {SPAN_TYPE: "item", ITEM_ID: text(trail.item_id), OUTCOME: str(trail.outcome)}
        if notes.derivation is not None:
            attributes[DERIVATION] = notes.derivation
            attributes[ITEM_PARENTS] = tuple(map(text, notes.parents))
            attributes[ITEM_PARENTS_COUNT] = notes.parents_count
        record = SpanRecord(
            trace_id=self.trace_id,
            span_id=notes.span_id,
            parent_id=self.parent_id,
            name="item",
            start_ns=self.clock.unix_ns(trail.began_ns),
            end_ns=self.clock.unix_ns(max(trail.ended_ns, trail.began_ns)),
            attributes=attributes,
            links=notes.links,
            tracestate=self.tracestate,
        )
        if trail.outcome in BAD_OUTCOMES:
            record.status = "error"
            record.message = notes.failure.message if notes.failure else str(trail.outcome)
            attributes[ERROR_TYPE] = notes.failure.code if notes.failure else str(trail.outcome)
        return record

    def _span(
        self, trail: ItemTrail, kind: str, name: str, span_id: str, parent_id: str, start_ns: int, end_ns: int
    ) -> SpanRecord:
        attributes: Attributes = {SPAN_TYPE: kind, STAGE: name, ITEM_ID: text(trail.item_id)}
        if kind != "wait" and name in self.lanes:
            attributes[LANE] = self.lanes[name]
        return SpanRecord(
            trace_id=self.trace_id,
            span_id=span_id,
            parent_id=parent_id,
            name=f"{kind} {name}",
            start_ns=self.clock.unix_ns(start_ns),
            end_ns=self.clock.unix_ns(max(start_ns, end_ns)),
            attributes=attributes,
            tracestate=self.tracestate,
        )

    def _bloc(
        self, trail: ItemTrail, stage: str, bloc: str, marks: Sequence[BlocMark], parent_id: str, ids: SpanIds
    ) -> SpanRecord:
        span_id = trail.notes.ids.get((stage, bloc)) or ids.next()
        last = marks[-1]
        end_ns = trail.ended_ns if last.code is None else last.at_ns
        span = self._span(trail, "bloc", bloc, span_id, parent_id, marks[0].at_ns, end_ns)
        span.attributes[STAGE] = stage
        span.attributes[BLOC] = bloc
        if last.code:
            span.status = "error"
            span.attributes[ERROR_TYPE] = last.code
        return span

    def _tell(self, trail: ItemTrail, stage: str, work: SpanRecord, blocs: dict[str, SpanRecord]) -> None:
        """Put retries and the failure where they happened: on the bloc's span, else on the stage's."""
        failure = trail.notes.failure
        told = [*trail.notes.retries, failure] if failure else trail.notes.retries
        for each in told:
            if each.stage != stage:
                continue
            span = blocs.get(each.bloc, work)
            span.events = [*span.events, self._event(each)]
            if each is failure:
                for failed in {id(span): span, id(work): work}.values():
                    failed.status = "error"
                    failed.message = each.message
                    failed.attributes[ERROR_TYPE] = each.code
                    failed.attributes[ATTEMPTS] = each.attempts

    def _event(self, failure: Failure) -> SpanEvent:
        attributes: Attributes = {EXCEPTION_TYPE: failure.exception, EXCEPTION_MESSAGE: failure.message}
        if failure.delay_s is not None:
            attributes |= {ATTEMPTS: failure.attempts, DELAY_S: failure.delay_s, ERROR_TYPE: failure.code}
        name = "exception" if failure.delay_s is None else "retry"
        return SpanEvent(name, self.clock.unix_ns(failure.at_ns), attributes)


def _visit(trail: ItemTrail, index: int) -> tuple[int, int | None, int | None]:
    at = index * 3
    times = trail.times
    started = times[at + 1] if len(times) > at + 1 else None
    completed = times[at + 2] if len(times) > at + 2 else None
    return times[at], started, completed


def _by_bloc(marks: Sequence[BlocMark]) -> dict[str, dict[str, list[BlocMark]]]:
    found: dict[str, dict[str, list[BlocMark]]] = {}
    for mark in marks:
        found.setdefault(mark.stage, {}).setdefault(mark.bloc, []).append(mark)
    return found


def _fit_in(children: Sequence[SpanRecord], spans: Sequence[SpanRecord]) -> None:
    """Make units and the children within them agree on when it began and ended.

    The hook's own microseconds stick out of the unit: they are cut off. The flow hears of the start of
    a unit that failed in a child only with its end: there the child knows better, and the wait is over.
    """
    places = {span.span_id: place for place, span in enumerate(spans)}
    for child in children:
        place = places.get(child.parent_id or "")
        if place is None:
            continue
        unit, before = spans[place], spans[place - 1]
        if 0 < unit.start_ns - child.start_ns < HOOK_NS:
            child.start_ns = unit.start_ns
        elif child.start_ns < unit.start_ns and before.attributes[SPAN_TYPE] == "wait":
            unit.start_ns = before.end_ns = max(child.start_ns, before.start_ns)
        if 0 < child.end_ns - unit.end_ns < HOOK_NS:
            child.end_ns = unit.end_ns


def error_code(error: BaseException) -> str:
    """What ``error.type`` says of *error*: our own code, the class in the child, or the class."""
    if isinstance(error, ItemError):
        return error.error_type or error.item_code
    if isinstance(error, CablewayError):
        return error.code
    return type(error).__qualname__


def failure_of(
    error: BaseException,
    redact: Callable[[str], str],
    *,
    stage: str,
    bloc: str,
    attempts: int,
    at_ns: int,
    delay_s: float | None = None,
) -> Failure:
    """*error* in words that can be kept: bounded, without secrets, without the error itself."""
    try:
        message = text(redact(str(error)))
    except Exception:
        # An error whose own text fails must not become two errors.
        message = ""
    exception = (error.error_type if isinstance(error, ItemError) else None) or type(error).__qualname__
    return Failure(stage, bloc, text(error_code(error)), text(exception), message, attempts, at_ns, delay_s)


def note_retry(notes: Notes, retry: Failure) -> None:
    """Keep *retry* among the item's events, up to the bound; its last place is for the failure."""
    if len(notes.retries) < EVENTS_LIMIT - 1:
        notes.retries.append(retry)
