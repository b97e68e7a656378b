"""Those who listen: what they are told, and what happens to one that raises."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from cableway import ExecutionType, WorkItem
from cableway.flow.config import Batch
from cableway.flow.observer import FlowStarted, Observer
from tests.unit.flow.harness import Lives, each, outcomes, pipeline, run, same, stage, until


class Times(Observer):
    """Notes each item's readings, stage by stage."""

    def __init__(self) -> None:
        self.readings: dict[int, list[tuple[str, str, int]]] = {}
        self.started: FlowStarted | None = None
        self.derived: list[tuple[str, int, int]] = []
        self.blocked: list[tuple[str, str]] = []
        self.dropped = 0

    def run_started(self, event: FlowStarted) -> None:
        self.started = event

    def _note(self, item: WorkItem, what: str, stage: str, at_ns: int) -> None:
        self.readings.setdefault(item.data, []).append((what, stage, at_ns))

    def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
        self._note(item, "queued", stage, at_ns)

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        self._note(item, "started", stage, at_ns)

    def item_finished(self, item: WorkItem, stage: str, at_ns: int) -> None:
        self._note(item, "finished", stage, at_ns)

    def item_dropped(self, item: WorkItem, stage: str, at_ns: int) -> None:
        self.dropped += 1

    def item_derived(self, parents: Any, children: Any, stage: str, how: str) -> None:
        self.derived.append((how, len(parents), len(children)))

    def stage_blocked(self, stage: str, behind: str, waited_ns: int, at_ns: int) -> None:
        assert waited_ns >= 0
        self.blocked.append((stage, behind))


@pytest.mark.parametrize("lane", [ExecutionType.ASYNC, ExecutionType.THREAD])
@pytest.mark.parametrize("tracking", [True, False])
async def test_every_hop_is_told_in_order_with_growing_times(lane: ExecutionType, tracking: bool) -> None:
    observer = Times()

    def plain(item: WorkItem) -> WorkItem:
        return item

    handler: Any = plain if lane is ExecutionType.THREAD else same
    stages = [(stage("a", execution_type=lane, queue_size=2), handler), (stage("b", queue_size=1), same)]
    await run(stages, range(20), observers=(observer,), enable_tracking=tracking)
    assert observer.started is not None
    assert observer.started.stages == (("a", ("a",), str(lane)), ("b", ("b",), "async"))
    for readings in observer.readings.values():
        assert [(what, name) for what, name, _ in readings] == [
            ("queued", "a"), ("started", "a"), ("finished", "a"), ("queued", "b"), ("started", "b"), ("finished", "b"),
        ]  # fmt: skip
        times = [at for _, _, at in readings]
        assert times == sorted(times)


async def test_what_is_told_is_what_is_kept() -> None:
    observer = Times()
    items = [WorkItem(n) for n in range(50)]
    await run([(stage("a", queue_size=3), same), (stage("b", queue_size=1), same)], items, observers=(observer,))
    for item in items:
        assert item.record is not None
        assert item.record.readings == [at for _, _, at in observer.readings[item.data]]


async def test_derivations_drops_and_waits_are_told() -> None:
    observer = Times()

    async def two(item: WorkItem) -> list[WorkItem] | None:
        await asyncio.sleep(0)
        return [WorkItem(100 + item.data), WorkItem(200 + item.data)] if item.data else None

    async def slow(item: WorkItem) -> WorkItem:
        await asyncio.sleep(0.001)
        return item

    stages = [
        (stage("two", workers=3), two),
        (stage("slow", workers=1, queue_size=1), slow),
    ]
    await run(stages, range(5), observers=(observer,))
    assert observer.derived == [("fan_out", 1, 1)] * 8
    assert observer.dropped == 1
    assert ("two", "slow") in observer.blocked


async def test_of_a_batch_and_a_gather_the_parents_are_told() -> None:
    observer = Lives()
    derived: list[tuple[str, int]] = []

    class Derived(Observer):
        def item_derived(self, parents: Any, children: Any, stage: str, how: str) -> None:
            derived.append((how, len(parents)))

    stages = [(stage("batch", batch=Batch(count=2)), same), (stage("all", gather=True), same)]
    await run(stages, range(4), observers=(observer, Derived()))
    assert derived == [("batch", 2)] * 2 + [("gather", 1)] * 2
    assert observer.faults == []


@pytest.mark.parametrize("method", ["item_queued", "item_started", "item_finished", "item_ended", "run_started"])
@pytest.mark.parametrize("beside", [True, False])
async def test_one_that_raises_is_taken_off_and_the_others_hear_on(
    method: str, beside: bool, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def broken(self: Any, *_: Any) -> None:
        nonlocal calls
        calls += 1
        raise OSError("deaf")

    bad: Observer = type("Bad", (Observer,), {method: broken})()
    lives = Lives()
    stages = [(stage("a", workers=1), same), (stage("b", workers=1), same)]
    results = await run(stages, range(10), observers=(bad, lives) if beside else (bad,))
    assert outcomes(results) == {"succeeded": 10}
    assert caplog.text.count("is taken off") == 1
    assert calls <= 2  # a worker may have looked it up before
    assert lives.faults == []


async def test_what_nobody_overrides_is_not_called() -> None:
    made = pipeline([(stage(), same)], range(3), observers=(Observer(),))
    await made.run()
    assert made._run is not None
    assert made._run.audience.item_queued is None
    assert not made._run.audience.hears_hops


def test_an_observer_is_an_observer() -> None:
    made = pipeline([(stage(), same)], [1], observers=(object(),))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an Observer, not object"):
        asyncio.run(made.run())


async def test_statistics_add_up_over_the_stages() -> None:
    async def slow(item: WorkItem) -> WorkItem:
        await asyncio.sleep(0.002)
        return item

    stages = [(stage("a", workers=4), slow), (stage("b", workers=1), each(lambda n: None if n % 2 else n))]
    made = pipeline(stages, range(20), enable_tracking=False)
    await made.run()
    first, second = made.stage_statistics()
    assert (first.queued, first.done, first.emitted, first.waiting, first.in_work) == (20, 20, 20, 0, 0)
    assert (second.queued, second.done, second.skipped, second.emitted) == (20, 10, 10, 10)
    assert 20 * 0.002 <= first.work_s < 20
    assert first.wait_s >= 0


async def test_statistics_are_true_while_items_are_at_work() -> None:
    gate = asyncio.Event()
    at_work: Counter[str] = Counter()

    async def wait(item: WorkItem) -> WorkItem:
        at_work["now"] += 1
        await gate.wait()
        return item

    made = pipeline([(stage(workers=2, queue_size=3), wait)], range(5), enable_tracking=False)
    await made.start()
    await until(lambda: at_work["now"] == 2)
    await asyncio.sleep(0.01)
    (now,) = made.stage_statistics()
    assert (now.in_work, now.waiting) == (2, 3)
    assert now.work_s >= 0.015
    gate.set()
    await made.run()
