"""Batches, gathers, order, rates, byte bounds and ids: what can stand around a stage's workers."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from cableway import ExecutionType, WorkItem
from cableway.errors import GatherTooLargeError, ItemError
from cableway.flow.bloc import Fold, StageBloc
from cableway.flow.config import Batch, Gather, RateLimit, Retry
from tests.unit.flow.harness import Lives, data_of, each, ended, outcomes, pipeline, run, same, stage, until

TOTAL = Fold(initial=int, add=lambda state, item: state + item.data, finish=lambda state: state)


async def test_a_batch_holds_so_many_and_the_last_one_the_rest() -> None:
    lives = Lives()
    items = [WorkItem(n, job_id=f"i{n}") for n in range(7)]
    results = await run([(stage(batch=Batch(count=3), workers=1), same)], items, observers=(lives,))
    batches = {result.job_id: result.data for result in results if ".." in result.job_id}
    assert batches == {"i0..i2": [0, 1, 2], "i3..i5": [3, 4, 5], "i6..i6": [6]}
    assert outcomes(results) == {"succeeded": 10}
    assert lives.faults == []


async def test_a_batch_holds_so_many_bytes() -> None:
    results = await run([(stage(batch=Batch(bytes=100), workers=1), same)], [b"x" * 60] * 5)
    assert sorted(len(data) for data in data_of(results) if isinstance(data, list)) == [1, 2, 2]


async def test_a_batch_goes_when_its_time_has_come() -> None:
    more = asyncio.Event()
    seen: list[Any] = []

    async def source() -> Any:
        yield 1
        yield 2
        await more.wait()
        yield 3

    async def act(item: WorkItem) -> WorkItem:
        seen.append(item.data)
        more.set()
        return item

    await run([(stage(batch=Batch(count=100, period_s=0.02)), act)], source())
    assert seen == [[1, 2], [3]]


async def test_a_batch_is_flushed_when_the_run_is_stopped() -> None:
    async def source() -> Any:
        yield 1
        yield 2
        await asyncio.Event().wait()

    made = pipeline([(stage(batch=Batch(count=100)), same)], source())
    await made.start()
    await until(lambda: made._run is not None and made._run.ledger.emitted == 2)
    await asyncio.sleep(0)
    await made.stop()
    async with asyncio.timeout(5):
        results = await made.run()
    assert [1, 2] in data_of(results)


async def test_a_gather_sees_everything_once() -> None:
    lives = Lives()
    results = await run(
        [(stage("first"), same), (stage("all", gather=True), each(sum)), (stage("end"), same)],
        range(50),
        observers=(lives,),
    )
    (gathered,) = [result for result in results if result.job_id == "gather"]
    assert gathered.data == sum(range(50))
    assert outcomes(results) == {"succeeded": 51}
    assert lives.faults == []


async def test_without_items_nothing_is_gathered() -> None:
    assert await run([(stage(gather=True), same)], []) == []


async def test_a_fold_holds_state_and_not_items() -> None:
    made = pipeline([(stage(gather=True), same)], range(100))
    made.register_stage_blocs(
        "only",
        [
            StageBloc(name="total", handler=each(lambda total: total * 10), fold=TOTAL),
            StageBloc(name="listed", handler=lambda item: len(item.data), execution_type=ExecutionType.THREAD),
        ],
        lambda _, results: dict(results),
    )
    (gathered,) = [result for result in await made.run() if result.job_id == "gather"]
    assert gathered.data == {"total": 49500, "listed": 100}


async def test_a_gather_over_its_bytes_fails_the_run_naming_the_stage() -> None:
    lives = Lives()
    made = pipeline([(stage("all", gather=Gather(max_bytes=1000)), same)], [b"x" * 100] * 50, observers=(lives,))
    with pytest.raises(GatherTooLargeError, match="stage 'all' gathers more than 1000 bytes"):
        await made.run()
    assert lives.faults == []


async def test_a_state_over_the_bytes_fails_the_run_too() -> None:
    joined = Fold(initial=bytes, add=lambda state, item: state + item.data, finish=len)
    made = pipeline([(stage("all", gather=Gather(max_bytes=1000)), same)], [b"x" * 100] * 50)
    made.register_stage_blocs("all", [StageBloc(name="joined", handler=same, fold=joined)], lambda _, results: results)
    with pytest.raises(GatherTooLargeError):
        await made.run()


async def test_an_item_that_cannot_be_folded_fails_alone() -> None:
    made = pipeline([(stage(gather=True), same)], [1, "two", 3])
    made.register_stage_blocs("only", [StageBloc(name="total", handler=same, fold=TOTAL)], lambda _, r: r["total"])
    results = await made.run()
    assert outcomes(results) == {"succeeded": 3, "failed": 1}
    assert [result.data for result in results if result.job_id == "gather"] == [4]


@pytest.mark.parametrize("lane", [ExecutionType.ASYNC, ExecutionType.THREAD])
async def test_an_ordered_stage_lets_items_out_as_they_came(lane: ExecutionType) -> None:
    out: list[int] = []
    chance = random.Random(1)

    def in_thread(item: WorkItem) -> WorkItem:
        time.sleep(chance.random() / 500)
        return item

    async def on_loop(item: WorkItem) -> WorkItem:
        await asyncio.sleep(chance.random() / 500)
        return item

    async def note(item: WorkItem) -> WorkItem:
        out.append(item.data)
        return item

    handler: Any = in_thread if lane is ExecutionType.THREAD else on_loop
    stages = [(stage(ordered=True, workers=4, execution_type=lane), handler), (stage("end", workers=1), note)]
    await run(stages, range(60))
    assert out == list(range(60))


async def test_in_an_ordered_stage_a_retried_item_keeps_its_place() -> None:
    tried: set[int] = set()
    out: list[int] = []

    async def act(item: WorkItem) -> WorkItem:
        if item.data % 7 == 0 and item.data not in tried:
            tried.add(item.data)
            raise ConnectionError
        return item

    async def note(item: WorkItem) -> WorkItem:
        out.append(item.data)
        return item

    ordered = stage(ordered=True, workers=2, queue_size=2, retry=Retry(attempts=2, initial_s=0.002))
    await run([(ordered, act), (stage("end", workers=1, queue_size=1), note)], range(30))
    assert out == list(range(30))


async def test_order_and_batches_go_together() -> None:
    out: list[Any] = []

    async def act(item: WorkItem) -> WorkItem:
        await asyncio.sleep(0.003 if item.data[0] == 0 else 0)
        return item

    async def note(item: WorkItem) -> WorkItem:
        out.append(item.data)
        return item

    await run([(stage(ordered=True, batch=Batch(count=2)), act), (stage("end", workers=1), note)], range(6))
    assert out == [[0, 1], [2, 3], [4, 5]]


async def test_a_failure_in_an_ordered_stage_holds_nobody() -> None:
    results = await run([(stage(ordered=True), each(lambda n: 1 // n))], range(10))
    assert outcomes(results) == {"succeeded": 9, "failed": 1}


async def test_a_rate_is_kept() -> None:
    times: list[float] = []

    async def act(item: WorkItem) -> WorkItem:
        times.append(time.monotonic())
        return item

    await run([(stage(workers=5, rate_limit=RateLimit(per_s=100, burst=2)), act)], range(12))
    assert times[-1] - times[0] >= 0.095
    assert times[1] - times[0] < 0.095


async def test_a_queue_is_bounded_in_bytes() -> None:
    most = 0
    waiting = 0

    async def make(item: WorkItem) -> bytes:
        nonlocal waiting
        waiting += 1
        return b"x" * 400

    async def take(item: WorkItem) -> WorkItem:
        nonlocal waiting, most
        most = max(most, waiting)
        waiting -= 1
        await asyncio.sleep(0)
        return item

    stages = [(stage("make", workers=1), make), (stage("take", workers=1, queue_size=100, queue_bytes=1000), take)]
    assert outcomes(await run(stages, range(50))) == {"succeeded": 50}
    # Two in the queue, one in each worker's hand.
    assert most <= 5


async def test_what_is_over_the_bound_alone_still_gets_through() -> None:
    results = await run([(stage(queue_bytes=10), same)], [b"x" * 1000] * 5)
    assert outcomes(results) == {"succeeded": 5}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("fail", {"succeeded": 3, "failed": 1}), ("skip", {"succeeded": 3, "skipped": 1}), ("allow", {"succeeded": 4})],
)
@pytest.mark.fault("A14")
async def test_ids_that_are_on_their_way_already(policy: Any, expected: dict[str, int]) -> None:
    lives = Lives()
    items = [WorkItem(n, job_id=job_id) for n, job_id in enumerate(["a", "b", "a", "c"])]
    results = await run([(stage(on_duplicate=policy), same)], items, observers=(lives,))
    assert outcomes(results) == expected
    if policy == "fail":
        (error,) = [result.error for result in results if result.error]
        assert isinstance(error, ItemError)
        assert error.item_code == "duplicate_id"
    assert lives.faults == []


async def test_an_id_may_come_again_once_the_first_has_ended() -> None:
    async def source() -> Any:
        yield WorkItem(1, job_id="a")
        await until(lambda: ended(made) >= 1)
        yield WorkItem(2, job_id="a")

    made = pipeline([(stage(), same)], source())
    assert outcomes(await made.run()) == {"succeeded": 2}


async def test_the_same_object_twice_is_a_duplicate() -> None:
    item = WorkItem(1)
    assert outcomes(await run([(stage(), same)], [item, item])) == {"succeeded": 1, "failed": 1}
