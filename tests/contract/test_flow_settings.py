"""
Every setting of a stage in every lane: it holds, or the pair is refused with its reason.

`CASES` is the matrix. A case holds in all lanes but those that ``refused`` names with the message. By a
fake clock where time matters, so that ten minutes are none; on a cluster, whose clock cannot be faked,
`A` and `B` are short instead.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, StageConfig, WorkItem
from cableway.errors import GatherTooLargeError, ItemError, ItemsFailedError
from cableway.flow.config import Batch, Gather, RateLimit, Retry
from cableway.testing import FakeClock, run_stages
from cableway.testing.stages import StagesReport
from tests.contract import flow_handlers as handlers
from tests.contract.flow_lanes import LANES, check_lane, in_lane, stage
from tests.unit.flow.harness import Lives, same
from tests.unit.lanes.running import Fifo

ASYNC, THREAD, PROCESS, INTERPRETER, DASK = LANES
TORN = handlers.TornError


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> ExecutionType:
    check_lane(request.param)
    found: ExecutionType = request.param
    return found


@pytest.fixture
def address(lane: ExecutionType, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("cluster") if lane is ExecutionType.DASK else None


@dataclass(frozen=True)
class Ran:
    """What came of a case."""

    report: StagesReport
    lane: ExecutionType
    elapsed_s: float
    most_waiting: int

    @property
    def codes(self) -> set[str]:
        return {error.item_code for error in self.report.errors if isinstance(error, ItemError)}


Check = Callable[[Ran], None]


@dataclass(frozen=True)
class Case:
    """A setting, the items that try it, and what must come of them."""

    name: str
    settings: Mapping[str, Any]
    handler: Callable[..., Any]
    items: Callable[[], Any]
    check: Check
    refused: Mapping[ExecutionType, str] = field(default_factory=dict[ExecutionType, str])
    clock: bool = False
    in_lanes: Mapping[ExecutionType, Mapping[str, Any]] = field(default_factory=dict[ExecutionType, Mapping[str, Any]])
    """Settings that differ there."""
    raw: bool = False
    """The handler as it is, whatever the lane takes."""


class Waiting(Lives):
    """Counts besides how many wait before the stage, or are in its hands and were not told to have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
        super().item_queued(item, stage, at_ns)
        if stage == "only":
            self.now += 1
            self.most = max(self.most, self.now)

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        super().item_started(item, stage, at_ns)
        self.now -= stage == "only"


def play(case: Case, lane: ExecutionType, address: str | None) -> Ran:
    clock = FakeClock() if case.clock and lane is not DASK else None
    config = stage(lane, address, **{**case.settings, **case.in_lanes.get(lane, {})})
    handler = case.handler if case.raw else in_lane(lane, case.handler)
    lives = Waiting()
    began = time.monotonic()
    report = run_stages(
        [(config, handler), (StageConfig(name="end", workers=1, queue_size=1), same)],
        case.items(),
        clock=clock,
        observers=[lives],
    )
    assert lives.faults == []
    assert lives.told in (["run_started", "run_ended"], [])  # nothing of a run whose pool cannot even be made
    elapsed_s = clock.elapsed_s if clock is not None else time.monotonic() - began
    return Ran(report, lane, elapsed_s, lives.most)


def ends(*, outputs: list[Any] | None = None, codes: Iterable[str] = (), **counts: int) -> Check:
    """So many items end in each way, with these outputs in any order, and errors of these codes."""

    def check(ran: Ran) -> None:
        assert ran.report.error is None
        assert dict(ran.report.counts) == counts
        if outputs is not None:
            assert Counter(map(repr, ran.report.outputs)) == Counter(map(repr, outputs))
        assert ran.codes == set(codes)

    return check


def attempts(number: int, **counts: int) -> Check:
    def check(ran: Ran) -> None:
        assert dict(ran.report.counts) == counts
        assert {item.attempts for item in ran.report.items} == {number}

    return check


def both(*checks: Check) -> Check:
    def check(ran: Ran) -> None:
        for one in checks:
            one(ran)

    return check


def takes(least_s: float, most_s: float, on_cluster_s: float) -> Check:
    """By the fake clock so long; real seconds at work come on top, hence the margin."""

    def check(ran: Ran) -> None:
        if ran.lane is DASK:
            assert ran.elapsed_s >= on_cluster_s
        else:
            assert least_s - 1e-6 <= ran.elapsed_s <= most_s + 10

    return check


def run_fails(kind: type[Exception], message: str) -> Check:
    def check(ran: Ran) -> None:
        assert type(ran.report.error) is kind, ran.report.error
        assert re.search(message, str(ran.report.error))

    return check


def in_order(ran: Ran) -> None:
    assert ran.report.counts == {"succeeded": 5}
    passed = [item.job_id for item in ran.report.items]
    assert passed == sorted(passed)


def at_most_at_once(workers: int) -> Check:
    def check(ran: Ran) -> None:
        spans = sorted(ran.report.outputs)
        most = max(sum(other[0] <= one[0] < other[1] for other in spans) for one in spans)
        assert 2 <= most <= workers

    return check


def bounded(most: int) -> Check:
    def check(ran: Ran) -> None:
        assert ran.report.counts == {"succeeded": 30}
        assert ran.most_waiting <= most

    return check


def some_waited_too_long(ran: Ran) -> None:
    """A pool may have one more in its hands than it has workers, and that one waits no longer in the queue."""
    assert ran.codes == {"queue_timeout"}
    assert ran.report.counts["failed"] >= 2
    assert ran.report.counts["succeeded"] >= 1
    assert sum(ran.report.counts.values()) == 4


def prepared_once(ran: Ran) -> None:
    found = set(ran.report.outputs)
    if ran.lane in {PROCESS, INTERPRETER}:
        assert found == {1}
    else:  # these share a process with whatever was prepared in it before
        assert min(found) >= 1


def named(*data: Any) -> list[WorkItem]:
    return [WorkItem(value, job_id=f"i{number}") for number, value in enumerate(data)]


def twins() -> list[WorkItem]:
    return [WorkItem(number, job_id=job_id) for number, job_id in enumerate(["a", "b", "a", "c"])]


def coloured() -> list[WorkItem]:
    item = WorkItem(1, job_id="one")
    item.metadata.custom_metadata["colour"] = "red"
    return [item]


async def two_and_later_one() -> AsyncIterator[int]:
    import asyncio

    yield 1
    yield 2
    await asyncio.sleep(2)
    yield 3


async def coroutine(job_id: str, data: Any) -> Any:
    return data


TAKES_ITEM_ALONE = "in the {} lane a handler takes the item alone"
NO_CHUNK = "chunk is for lanes in children, and {} is none"
HOUR = Retry(attempts=3, initial_s=600, factor=4, max_s=1200, jitter=False)
SHORT = Retry(attempts=3, initial_s=0.02, factor=4, max_s=0.04, jitter=False)

CASES = [
    Case("plain", {}, handlers.double, lambda: [1, 2, 3], ends(succeeded=3, outputs=[2, 4, 6])),
    # Again after a failure
    Case(
        "retry, its pauses and their most", {"retry": HOUR, "workers": 3}, handlers.fails_twice, lambda: named(1, 2, 3),
        both(attempts(3, succeeded=3), takes(1800, 1800, 0.06)), clock=True, in_lanes={DASK: {"retry": SHORT}},
    ),
    Case(
        "retry, its jitter", {"retry": Retry(attempts=2, initial_s=600, max_s=600)}, handlers.always_fails,
        lambda: named(1), both(attempts(2, failed=1), takes(300, 600, 0.01)), clock=True,
        in_lanes={DASK: {"retry": Retry(attempts=2, initial_s=0.02)}},
    ),
    Case(
        "retry, its attempts", {"retry": Retry(attempts=2, initial_s=0)}, handlers.fails_twice, lambda: named(1, 2),
        attempts(2, failed=2),
    ),
    Case(
        "retry_on another error", {"retry": Retry(retry_on=(OSError,), initial_s=0)}, handlers.fails_twice,
        lambda: named(1), attempts(1, failed=1),
    ),
    Case(
        "retry_on by name", {"retry": Retry(retry_on=("TornError",), initial_s=0)}, handlers.fails_twice,
        lambda: named(1), attempts(3, succeeded=1),
    ),
    Case(
        "give_up_on", {"retry": Retry(give_up_on=(TORN,), initial_s=0)}, handlers.fails_twice, lambda: named(1),
        attempts(1, failed=1),
    ),
    # Limits of time
    Case(
        "timeout_s", {"timeout_s": 0.8}, handlers.nap, lambda: named(2.0, 0.0, 0.0, 0.0),
        ends(succeeded=3, failed=1, codes=["timeout"]),
    ),
    Case(
        "queue_timeout_s", {"queue_timeout_s": 0.1, "workers": 1}, handlers.nap, lambda: named(0.6, 0.0, 0.0, 0.0),
        some_waited_too_long, in_lanes={PROCESS: {"chunk": 1}, INTERPRETER: {"chunk": 1}},
    ),
    # What a failure means
    Case("on_error dead_letter", {}, handlers.odd_fails, lambda: named(0, 1, 2), ends(succeeded=2, failed=1)),
    Case("on_error skip", {"on_error": "skip"}, handlers.odd_fails, lambda: named(0, 1), ends(succeeded=1, skipped=1)),
    Case(
        "on_error fail_run", {"on_error": "fail_run"}, handlers.odd_fails, lambda: named(0, 1, 2),
        run_fails(ItemsFailedError, "item i1 failed in stage 'only': TornError: 1 is odd"),
    ),
    # Several into one
    Case(
        "batch of a count", {"batch": Batch(count=3)}, handlers.total, lambda: range(7),
        ends(succeeded=10, outputs=[3, 12, 6]),
    ),
    Case(
        "batch of bytes", {"batch": Batch(bytes=100)}, handlers.lengths, lambda: [b"x" * 60] * 5,
        ends(succeeded=8, outputs=[2, 2, 1]),
    ),
    Case(
        "batch of a time", {"batch": Batch(period_s=0.5)}, handlers.total, two_and_later_one,
        ends(succeeded=5, outputs=[3, 3]), clock=True,
    ),
    Case("gather", {"gather": True}, handlers.total, lambda: range(20), ends(succeeded=21, outputs=[190])),
    Case(
        "gather over its bytes", {"gather": Gather(max_bytes=1000)}, handlers.lengths, lambda: [b"x" * 100] * 20,
        run_fails(GatherTooLargeError, "stage 'only' gathers more than 1000 bytes"),
    ),
    Case("ordered", {"ordered": True}, handlers.nap, lambda: named(0.1, 0.0, 0.05, 0.0, 0.0), in_order),
    Case(
        "gather and batch", {"gather": True, "batch": Batch(count=2)}, handlers.total, list, ends(),
        refused=dict.fromkeys(LANES, "gather takes all items, so batch has nothing to do"),
    ),
    Case(
        "gather and ordered", {"gather": True, "ordered": True}, handlers.total, list, ends(),
        refused=dict.fromkeys(LANES, "gather gives one item, so ordered has nothing to do"),
    ),
    # How fast, how many, how large
    Case(
        "rate_limit", {"rate_limit": RateLimit(per_s=1, burst=2)}, handlers.same, lambda: range(12),
        both(ends(succeeded=12), takes(10, 10, 0.1)), clock=True,
        in_lanes={DASK: {"rate_limit": RateLimit(per_s=100, burst=2)}},
    ),
    Case("workers", {"workers": 3, "queue_size": 8}, handlers.nap, lambda: [0.15] * 6, at_most_at_once(3)),
    Case("queue_size of one", {"queue_size": 1}, handlers.double, lambda: range(20), ends(succeeded=20)),
    Case(
        "queue_bytes", {"queue_size": 100, "queue_bytes": 1000}, handlers.same, lambda: [b"x" * 400] * 30,
        bounded(2 + 8), in_lanes={PROCESS: {"chunk": 1}, INTERPRETER: {"chunk": 1}},
    ),
    Case(
        "max_item_bytes", {"max_item_bytes": 5_000}, handlers.as_bytes, lambda: named(10, 10_000),
        ends(succeeded=1, failed=1, codes=["too_large"]),
    ),
    Case(
        "chunk", {"chunk": 4}, handlers.double, lambda: range(20), ends(succeeded=20),
        refused={
            ASYNC: NO_CHUNK.format("async"), THREAD: NO_CHUNK.format("thread"), DASK: "the dask lane takes no chunk",
        },
    ),
    # Ids that are on their way already
    Case("on_duplicate fail", {}, handlers.same, twins, ends(succeeded=3, failed=1, codes=["duplicate_id"])),
    Case("on_duplicate skip", {"on_duplicate": "skip"}, handlers.same, twins, ends(succeeded=3, skipped=1)),
    Case("on_duplicate allow", {"on_duplicate": "allow"}, handlers.same, twins, ends(succeeded=4)),
    # Before the first unit
    Case("setup", {"setup": handlers.prepare}, handlers.times_prepared, lambda: range(8), prepared_once),
    Case(
        "setup that raises", {"setup": handlers.unprepared}, handlers.same, lambda: range(3), ends(),
        refused=dict.fromkeys(LANES, "RuntimeError: no licence"),
    ),
    Case(
        "options of the dask lane", {"options": {"address": ""}}, handlers.same, lambda: [1], ends(),
        refused={
            **{one: f"options are for the dask lane, not for {one}" for one in LANES},
            DASK: "the dask lane needs the address of a cluster",
        },
    ),
    # What a handler may give
    Case("drop by None", {}, handlers.gives_none, lambda: range(3), ends(skipped=3)),
    Case("drop by DROP", {}, handlers.gives_drop, lambda: range(3), ends(skipped=3)),
    Case("a list is data", {}, handlers.many_values, lambda: [2], ends(succeeded=1, outputs=[[0, 1]])),
    Case("fan-out by a generator", {}, handlers.many, lambda: named(5), ends(succeeded=6, outputs=[0, 1, 2, 3, 4])),
    Case("fan-out of nothing", {}, handlers.many, lambda: named(0), ends(skipped=1)),
    Case("fan-out by a list of items", {}, handlers.many_items, lambda: named(3), ends(succeeded=4, outputs=[0, 1, 2])),
    # What a handler may be
    Case(
        "metadata as the third argument", {}, handlers.colour_of, coloured,
        ends(succeeded=1, outputs=[("one", 1, 1, {"colour": "red"})]), raw=True,
        refused={ASYNC: "the async lane needs `async def colour_of", THREAD: TAKES_ITEM_ALONE.format("thread")},
    ),
    Case(
        "a coroutine function", {}, coroutine, list, ends(), raw=True,
        refused={
            **{one: f"the {one} lane needs a plain `def`, and coroutine is async" for one in LANES},
            ASYNC: TAKES_ITEM_ALONE.format("async"),
        },
    ),
]  # fmt: skip


@pytest.mark.promise("P10")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.timeout(20)
def test_a_setting_holds_or_is_refused(case: Case, lane: ExecutionType, address: str | None) -> None:
    if lane not in case.refused:
        case.check(play(case, lane, address))
        return
    try:
        error: BaseException | None = play(case, lane, address).report.error
    except (TypeError, ValueError) as refused:
        error = refused
    assert re.search(re.escape(case.refused[lane]), str(error)), error


def events_of(lane: ExecutionType, address: str | None) -> dict[str, list[str]]:
    class Hears(Lives):
        heard: dict[str, list[str]]

        def __init__(self) -> None:
            super().__init__()
            self.heard = {}

        def note(self, item: WorkItem, event: str) -> None:
            self.heard.setdefault(item.job_id, []).append(event)

        def item_queued(self, item: WorkItem, stage: str, at_ns: int) -> None:
            super().item_queued(item, stage, at_ns)
            self.note(item, f"queued {stage}")

        def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
            super().item_started(item, stage, at_ns)
            self.note(item, f"started {stage}")

        def item_finished(self, item: WorkItem, stage: str, at_ns: int) -> None:
            super().item_finished(item, stage, at_ns)
            self.note(item, f"finished {stage}")

        def item_failed(
            self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
        ) -> None:
            self.note(item, f"failed {stage}/{bloc} {type(error).__name__} after {attempts}")

        def item_retried(
            self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempt: int, delay_s: float
        ) -> None:
            self.note(item, f"retried {stage}/{bloc} after {attempt}")

        def item_dropped(self, item: WorkItem, stage: str, at_ns: int) -> None:
            self.note(item, f"dropped {stage}")

        def item_ended(self, item: WorkItem, outcome: Any, at_ns: int) -> None:
            super().item_ended(item, outcome, at_ns)
            self.note(item, str(outcome))

    hears = Hears()
    config = stage(lane, address, retry=Retry(attempts=2, initial_s=0))
    items = [WorkItem(word, job_id=word) for word in ("keep", "drop", "raise", "raise once")]
    end = StageConfig(name="end")
    run_stages([(config, in_lane(lane, handlers.by_word)), (end, same)], items, observers=[hears])
    assert hears.faults == []
    return hears.heard


def test_observers_hear_the_same_of_an_item_in_every_lane(lane: ExecutionType, address: str | None) -> None:
    through_end = ["queued end", "started end", "finished end", "succeeded"]
    heard = events_of(lane, address)
    retried = [event for event in heard["raise once"] if not event.startswith("retried")]
    assert heard["keep"] == retried == ["queued only", "started only", "finished only", *through_end]
    assert heard["drop"] == ["queued only", "started only", "finished only", "dropped only", "skipped"]
    assert heard["raise once"].count("retried only/only after 1") == 1
    # In a child the start is known with the result, so it may be told after the retry.
    assert sorted(heard["raise"][:-2]) == ["queued only", "retried only/only after 1", "started only"]
    assert heard["raise"][-2:] == ["failed only/only TornError after 2", "failed"]


def pipeline_of(
    lane: ExecutionType, address: str | None, handler: Callable[..., Any], source: Any, lives: Lives
) -> ETLPipeline:
    config = ETLPipelineConfig(stages=[stage(lane, address)], stats_interval_seconds=0)
    made = ETLPipeline(config, source, observers=[lives])
    made.register_stage_handler("only", in_lane(lane, handler))
    return made


async def test_stop_drains_and_run_gives_what_finished(lane: ExecutionType, address: str | None) -> None:
    lives = Lives()
    made = pipeline_of(lane, address, handlers.double, iter(range(10**9)), lives)

    async def after_ten(result: Any) -> None:
        if lives.ends["succeeded"] >= 10 and made.is_running():
            await made.stop()

    made.add_completion_callback(after_ten)
    results = await made.run()
    assert {str(result.outcome) for result in results} == {"succeeded"}
    assert 10 <= len(results) < 5_000
    assert lives.faults == []
    assert not made.is_running()


@pytest.mark.promise("P16")
async def test_cancel_ends_what_waits_and_what_works(lane: ExecutionType, address: str | None, tmp_path: Path) -> None:
    lives = Lives()
    begun = Fifo(tmp_path / "begun")
    # What cannot be ended must not hold a worker of the cluster, or an interpreter at the exit, for long.
    first = (begun.path, 2.0 if lane in {DASK, INTERPRETER} else 30.0)
    made = pipeline_of(lane, address, handlers.appear_then_nap, [first, *[(str(tmp_path / "x"), 0.0)] * 3], lives)
    await made.start()
    await begun.heard()
    began = time.monotonic()
    await made.cancel()
    results = await made.run()
    assert time.monotonic() - began < 10
    assert lives.faults == []
    assert sum(lives.ends.values()) == len(results) == 4
    assert lives.ends["cancelled"] >= 1


def test_the_matrix_names_every_setting_of_a_stage() -> None:
    """A setting that comes later is missed here until the matrix has it."""
    from dataclasses import fields

    tried = {name for case in CASES for name in case.settings} | {"name", "execution_type"}
    # What counts as a restart is the pools' affair (tests/unit/lanes); turnstiles are objects that the job makes.
    elsewhere = {"pool_restarts", "turnstiles"}
    assert {each.name for each in fields(StageConfig)} - tried == elsewhere
