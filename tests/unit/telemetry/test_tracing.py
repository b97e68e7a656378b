from __future__ import annotations

from typing import Any

import pytest

from cableway.errors import ItemError
from cableway.flow.observer import Outcome
from cableway.items import WorkItem
from cableway.telemetry import record
from cableway.telemetry.local import LocalSpans
from cableway.telemetry.propagation import parse_remote
from cableway.telemetry.record import SpanRecord
from cableway.telemetry.sampling import SPACE
from cableway.telemetry.tracing import SLOWEST, TraceObserver
from cableway.telemetry.trail import ItemTrail, TrailSpans
from cableway.telemetry.worker import SpanHook
from tests.fixtures.hand_flow import MS, THREE, HandFlow, Stages

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
RUN = "00f067aa0ba902b7"
SIDE_BY_SIDE = (("load", ("flights", "weather"), "async"), ("store", ("store",), "async"))


class Traced:
    """A flow by hand with a tracing observer, and what that has given out."""

    def __init__(self, threshold: int = SPACE, stages: Stages = THREE, **options: Any) -> None:
        self.offered: list[ItemTrail | SpanRecord] = []
        spans = TrailSpans(TRACE, RUN, "a=b")
        self.observer = TraceObserver(spans, threshold=threshold, offer=self.offered.append, **options)
        self.flow = HandFlow([self.observer], stages)

    @property
    def spans(self) -> list[SpanRecord]:
        """Everything that was offered, as spans."""
        found: list[SpanRecord] = []
        for each in self.offered:
            found += self.observer.build(each) if isinstance(each, ItemTrail) else [each]
        return found

    def named(self, name: str) -> list[SpanRecord]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]


def test_an_item_has_a_span_and_below_it_a_wait_and_a_work_for_each_stage() -> None:
    traced = Traced()
    traced.flow.pass_all(WorkItem(1, job_id="one"))
    item, *below = traced.spans
    assert (item.name, item.parent_id, item.attributes[record.ITEM_ID]) == ("item", RUN, "one")
    assert [span.name for span in below] == [
        "wait load",
        "work load",
        "wait clean",
        "work clean",
        "wait store",
        "work store",
    ]
    assert {span.parent_id for span in below} == {item.span_id}
    assert len({span.span_id for span in traced.spans}) == 7
    assert [(span.end_ns - span.start_ns) / MS for span in below] == [1, 2] * 3
    assert item.start_ns == traced.observer.spans.clock.unix_ns(traced.flow.began_ns)
    assert item.end_ns - item.start_ns == 9 * MS
    assert below[3].attributes[record.LANE] == "process"
    assert all(span.tracestate == "a=b" for span in traced.spans)


def test_an_item_that_is_not_drawn_leaves_nothing_behind() -> None:
    traced = Traced(threshold=0)
    for _ in range(SLOWEST):
        traced.flow.pass_all(WorkItem(1), work=3)
    for _ in range(50):
        traced.flow.pass_all(WorkItem(1), work=2)
    assert traced.offered == []
    assert traced.observer.held == 0


def test_the_slowest_items_are_kept_until_the_end() -> None:
    traced = Traced(threshold=0)
    for number in range(40):
        traced.flow.pass_all(WorkItem(1, job_id=str(number)), work=number % 20 + 1)
    assert traced.offered == []
    traced.flow.stop()
    kept = [span.attributes[record.ITEM_ID] for span in traced.named("item")]
    assert sorted(map(int, map(str, kept))) == [*range(15, 20), *range(35, 40)]
    assert [trail.item_id for trail in traced.observer.slowest()][:2] in (["19", "39"], ["39", "19"])


def _redacted(message: str) -> str:
    return message.replace("canary-secret", "***")


def test_a_failed_item_is_kept_and_says_where_and_why() -> None:
    traced = Traced(threshold=0, redact=_redacted)
    item = WorkItem(1, job_id="bad")
    traced.flow.pass_stage(item, "load")
    traced.flow.queue(item, "clean")
    traced.flow.start(item, "clean")
    traced.flow.wait(4)
    traced.flow.fail(item, "clean", ValueError("no such canary-secret"))
    (failed,) = traced.named("item")
    (work,) = traced.named("work clean")
    for span in (failed, work):
        assert (span.status, span.attributes[record.ERROR_TYPE], span.message) == ("error", "ValueError", "no such ***")
    assert work.end_ns - work.start_ns == 4 * MS
    (event,) = work.events
    assert (event.name, event.attributes[record.EXCEPTION_TYPE]) == ("exception", "ValueError")
    assert [span.status for span in traced.named("work load")] == ["unset"]


def test_a_fault_that_the_flow_found_has_its_code() -> None:
    traced = Traced(threshold=0)
    for error in (
        ItemError("timeout", "took too long"),
        ItemError("handler", "boom", error_type="KeyError"),
        _UntellableError(),
    ):
        item = WorkItem(1)
        traced.flow.queue(item, "load")
        traced.flow.fail(item, "load", error)
    codes = [span.attributes[record.ERROR_TYPE] for span in traced.named("item")]
    assert codes == ["timeout", "KeyError", "_UntellableError"]


class _UntellableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_retries_are_events_of_the_work() -> None:
    traced = Traced()
    item = WorkItem(1)
    traced.flow.queue(item, "load")
    traced.flow.start(item, "load")
    for attempt in range(1, 101):
        traced.observer.item_retried(item, "load", "load", OSError("again"), attempt, 0.5)
    traced.flow.start(item, "load")
    traced.flow.finish(item, "load")
    traced.flow.end(item)
    (work,) = traced.named("work load")
    assert len(work.events) == record.EVENTS_LIMIT - 1
    first = work.events[0]
    assert (first.name, first.attributes[record.ATTEMPTS], first.attributes[record.DELAY_S]) == ("retry", 1, 0.5)
    assert work.status == "unset"


def test_blocs_side_by_side_have_spans_and_their_failures() -> None:
    traced = Traced(stages=SIDE_BY_SIDE)
    item = WorkItem(1)
    traced.flow.queue(item, "load")
    traced.flow.start(item, "load")
    for bloc in ("flights", "weather"):
        traced.observer.bloc_started(item, "load", bloc, traced.flow.now_ns)
    traced.flow.wait(5)
    traced.observer.bloc_finished(item, "load", "flights", None, traced.flow.now_ns)
    traced.flow.wait(5)
    error = LookupError("gone")
    traced.observer.bloc_finished(item, "load", "weather", error, traced.flow.now_ns)
    traced.flow.fail(item, "load", error, bloc="weather")
    (work,) = traced.named("work load")
    (flights,), (weather,) = traced.named("bloc flights"), traced.named("bloc weather")
    assert flights.parent_id == weather.parent_id == work.span_id
    assert (flights.end_ns - flights.start_ns, weather.end_ns - weather.start_ns) == (5 * MS, 10 * MS)
    assert (flights.status, weather.status, work.status) == ("unset", "error", "error")
    assert weather.attributes[record.ERROR_TYPE] == "LookupError"
    assert [event.name for event in weather.events] == ["exception"]
    assert not work.events


def test_a_trail_knows_how_many_spans_it_makes() -> None:
    traced = Traced(stages=SIDE_BY_SIDE)
    half = WorkItem(1)
    traced.flow.queue(half, "load")
    traced.flow.end(half, Outcome.CANCELLED)
    begun = WorkItem(1)
    traced.flow.queue(begun, "load")
    traced.flow.start(begun, "load")
    traced.observer.bloc_started(begun, "load", "flights", traced.flow.now_ns)
    traced.flow.end(begun, Outcome.LOST)
    late = WorkItem(1)
    traced.flow.start(late, "store")
    traced.flow.finish(late, "store")
    traced.flow.end(late)
    never = WorkItem(1)
    traced.flow.end(never, Outcome.SKIPPED)
    trails = [each for each in traced.offered if isinstance(each, ItemTrail)]
    assert [each.span_count for each in trails] == [len(traced.observer.build(each)) for each in trails] == [2, 4, 3, 1]
    assert traced.named("work store")[0].attributes[record.STAGE] == "store"


def test_a_derived_item_names_its_parents_and_links_to_them() -> None:
    traced = Traced()
    parents = [WorkItem(n, job_id=str(n)) for n in range(300)]
    for parent in parents:
        traced.flow.queue(parent, "load")
    child = WorkItem(parents, job_id="0..299")
    traced.observer.item_derived(parents, [child], "load", "batch")
    for parent in parents:
        traced.flow.end(parent)
    traced.flow.pass_stage(child, "clean")
    traced.flow.end(child)
    *ended, batch = traced.named("item")
    assert len(batch.links) == record.LINKS_LIMIT
    assert {link.span_id for link in batch.links} <= {span.span_id for span in ended}
    assert batch.attributes[record.ITEM_PARENTS] == tuple(str(n) for n in range(record.MEMBERS_LIMIT))
    assert batch.attributes[record.ITEM_PARENTS_COUNT] == 300
    assert batch.attributes[record.DERIVATION] == "batch"
    assert batch.parent_id == RUN


def test_a_childs_span_joins_its_unit() -> None:
    traced = Traced()
    item = WorkItem(1, job_id="one")
    traced.flow.queue(item, "clean")
    traced.flow.start(item, "clean")
    carrier = traced.observer.carrier(item, "clean", "clean")
    assert carrier is not None
    assert carrier["tracestate"] == "a=b"
    hook = SpanHook()
    with pytest.raises(KeyError), hook.unit(carrier, "clean", "clean", item.job_id):
        raise KeyError
    traced.observer.worker_reported("clean", "clean", hook.drain())
    traced.flow.finish(item, "clean")
    traced.flow.end(item)
    (work,), (child,) = traced.named("work clean"), traced.named("unit clean")
    remote = parse_remote(carrier["traceparent"])
    assert remote is not None
    assert remote.span_id == work.span_id == child.parent_id
    assert (child.status, child.attributes[record.ERROR_TYPE]) == ("error", "KeyError")
    assert traced.observer.held == 0


def test_a_report_that_comes_late_is_not_lost_and_a_strange_one_is() -> None:
    traced = Traced(local=LocalSpans(SPACE))
    item = WorkItem(1)
    traced.flow.queue(item, "clean")
    traced.flow.start(item, "clean")
    carrier = traced.observer.carrier(item, "clean", "clean")
    assert carrier is not None
    hook = SpanHook()
    with hook.unit(carrier, "clean", "clean", "1"):
        pass
    with hook.unit({"traceparent": f"00-{'a' * 32}-{RUN}-01"}, "clean", "clean", "2"):
        pass
    traced.flow.finish(item, "clean")
    traced.flow.end(item)
    traced.observer.worker_reported("clean", "clean", hook.drain())
    assert len(traced.named("unit clean")) == 1


def test_a_child_of_an_item_that_is_not_drawn_hears_so() -> None:
    traced = Traced(threshold=0)
    item = WorkItem(1)
    traced.flow.queue(item, "clean")
    carrier = traced.observer.carrier(item, "clean", "clean")
    assert carrier == {"traceparent": f"00-{TRACE}-{RUN}-00", "tracestate": "a=b"}


def test_an_item_whose_id_was_asked_for_is_kept() -> None:
    traced = Traced(threshold=0)
    for _ in range(SLOWEST):
        traced.flow.pass_all(WorkItem(1), work=50)
    item = WorkItem(1)
    traced.flow.queue(item, "load")
    trace_id, span_id = traced.observer.span_context(item)
    traced.flow.end(item)
    assert (trace_id, [span.span_id for span in traced.named("item")]) == (TRACE, [span_id])


def test_a_dead_worker_is_told_on_the_run() -> None:
    traced = Traced()
    for _ in range(100):
        traced.observer.worker_died("clean", "clean", "SIGKILL", ["1"] * 100)
    assert len(traced.observer.events) == record.EVENTS_LIMIT
    assert traced.observer.events[0].attributes[record.ERROR_TYPE] == "SIGKILL"


def test_items_on_their_way_are_counted_by_stage() -> None:
    traced = Traced()
    first, second, third = (WorkItem(n) for n in range(3))
    traced.flow.pass_stage(first, "load")
    traced.flow.queue(first, "clean")
    traced.flow.queue(second, "load")
    traced.flow.start(second, "load")
    traced.flow.queue(third, "store")
    assert traced.observer.depths() == {"load": (0, 1), "clean": (1, 0), "store": (1, 0)}


def test_a_small_run_is_kept_whole() -> None:
    local = LocalSpans(SPACE)
    spans = TrailSpans(TRACE, RUN)
    observer = TraceObserver(spans, threshold=SPACE, local=local)
    flow = HandFlow([observer])
    for _ in range(20):
        flow.pass_all(WorkItem(1))
    flow.stop()
    kept = local.spans(SpanRecord(TRACE, RUN, None, "run x", 1, 2, {}), observer.slowest(), spans.of)
    assert (len(kept), local.left_out) == (1 + 20 * 7, 0)


def test_the_local_copy_stays_small_and_even() -> None:
    local = LocalSpans(SPACE)
    spans = TrailSpans(TRACE, RUN)
    observer = TraceObserver(spans, threshold=SPACE, local=local)
    flow = HandFlow([observer])
    built = 0
    for number in range(5_000):
        item = WorkItem(number, job_id=str(number))
        flow.pass_stage(item, "load", work=500 if number == 100 else 1)
        if number % 100 == 7:
            flow.fail(item, "load", ValueError("x"))
        else:
            flow.end(item)
    flow.stop()

    def build(trail: ItemTrail) -> list[SpanRecord]:
        nonlocal built
        built += 1
        return spans.of(trail)

    first = SpanRecord(TRACE, RUN, None, "run x", 1, 2, {})
    kept = local.spans(first, observer.slowest(), build)
    assert len(kept) <= 1_000
    assert local.left_out > 0
    assert built < 400
    by_id = {str(span.attributes[record.ITEM_ID]): span for span in kept if span.name == "item"}
    assert {"7", "4907", "100"} <= by_id.keys()
    sampled = [int(item_id) for item_id, span in by_id.items() if span.status != "error"]
    assert len(sampled) > 60
    assert max(sampled) > 2_500 > min(sampled)
    ids = {span.span_id for span in kept}
    assert len(ids) == len(kept)
    assert all(span.parent_id in ids for span in kept[1:])
