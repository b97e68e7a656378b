"""What a handler's result, or its failure, makes of an item."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from cableway import ExecutionType, WorkItem
from cableway.errors import ItemError, ItemsFailedError
from cableway.flow.config import Retry
from cableway.items import DROP
from tests.unit.flow.harness import Lives, data_of, each, outcomes, pipeline, run, same, stage

LANES = [ExecutionType.ASYNC, ExecutionType.THREAD]


def in_lane(lane: ExecutionType, function: Any) -> Any:
    """*function* as a handler of this lane."""
    if lane is ExecutionType.THREAD:
        return function

    async def handler(item: WorkItem) -> Any:
        return function(item)

    return handler


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("value", "expected"),
    [({"a": 1}, {"a": 1}), (0, 0), ("", ""), ([], []), ([1, 2], [1, 2]), (b"x", b"x"), (1.5, 1.5), (False, False)],
)
async def test_data_is_the_items_new_data(lane: ExecutionType, value: Any, expected: Any) -> None:
    items = [WorkItem("old")]
    results = await run([(stage(execution_type=lane), in_lane(lane, lambda _: value)), (stage("end"), same)], items)
    assert data_of(results) == [expected]
    assert items[0].data == expected


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("value", [None, DROP])
async def test_none_and_drop_let_the_item_end_as_skipped(lane: ExecutionType, value: Any) -> None:
    lives = Lives()
    stages = [(stage(execution_type=lane), in_lane(lane, lambda _: value)), (stage("end"), same)]
    results = await run(stages, range(3), observers=(lives,))
    assert outcomes(results) == {"skipped": 3}
    assert all(result.success for result in results)
    assert lives.faults == []


@pytest.mark.parametrize("lane", LANES)
async def test_another_item_gives_its_data_and_notes_to_the_live_one(lane: ExecutionType) -> None:
    def swap(item: WorkItem) -> WorkItem:
        other = WorkItem("new")
        other.metadata.custom_metadata["colour"] = "red"
        return other

    mine = WorkItem("old", job_id="mine")
    (result,) = await run([(stage(execution_type=lane), in_lane(lane, swap)), (stage("end"), same)], [mine])
    assert (result.job_id, mine.data) == ("mine", "new")
    assert mine.metadata.custom_metadata == {"colour": "red"}


def as_list(item: WorkItem) -> list[WorkItem]:
    return [WorkItem(n) for n in range(3)]


def as_generator(item: WorkItem) -> Iterator[int]:
    yield from range(3)


async def as_async_generator(item: WorkItem) -> AsyncIterator[int]:
    for n in range(3):
        yield n


@pytest.mark.parametrize(
    ("lane", "handler"),
    [
        (ExecutionType.ASYNC, in_lane(ExecutionType.ASYNC, as_list)),
        (ExecutionType.ASYNC, in_lane(ExecutionType.ASYNC, as_generator)),
        (ExecutionType.ASYNC, as_async_generator),
        (ExecutionType.THREAD, as_list),
        (ExecutionType.THREAD, as_generator),
    ],
)
async def test_many_come_out_of_one(lane: ExecutionType, handler: Any) -> None:
    lives = Lives()
    stages = [(stage(execution_type=lane), handler), (stage("end", queue_size=1, workers=1), same)]
    results = await run(stages, [WorkItem("root", job_id="r")], observers=(lives,))
    assert outcomes(results) == {"succeeded": 4}
    children = {result.job_id: result.data for result in results if result.job_id != "r"}
    assert children == {"r.1": 0, "r.2": 1, "r.3": 2}
    assert lives.faults == []


@pytest.mark.parametrize("lane", LANES)
async def test_a_generator_without_values_drops_the_item(lane: ExecutionType) -> None:
    def nothing(item: WorkItem) -> Iterator[int]:
        yield from ()

    results = await run([(stage(execution_type=lane), in_lane(lane, nothing))], [1])
    assert outcomes(results) == {"skipped": 1}


@pytest.mark.parametrize("lane", LANES)
async def test_children_given_before_a_generator_raised_go_on(lane: ExecutionType) -> None:
    def breaks(item: WorkItem) -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    lives = Lives()
    stages = [(stage(execution_type=lane), in_lane(lane, breaks)), (stage("end"), same)]
    results = await run(stages, [WorkItem(0, job_id="r")], observers=(lives,))
    assert outcomes(results) == {"succeeded": 2, "failed": 1}
    assert lives.faults == []


@pytest.mark.promise("P14")
async def test_a_fan_out_is_pulled_no_faster_than_it_is_taken() -> None:
    made = 0
    behind: list[int] = []

    async def many(item: WorkItem) -> AsyncIterator[int]:
        nonlocal made
        for number in range(500):
            made += 1
            yield number

    async def slow(item: WorkItem) -> WorkItem:
        behind.append(made - item.data)
        await asyncio.sleep(0)
        return item

    await run([(stage("many"), many), (stage("slow", workers=1, queue_size=2), slow)], ["root"])
    assert max(behind) <= 6


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(7), KeyboardInterrupt(), RecursionError(), MemoryError()]
)
@pytest.mark.promise("P12")
async def test_whatever_a_handler_raises_is_the_items_failure_alone(lane: ExecutionType, error: BaseException) -> None:
    def act(item: WorkItem) -> WorkItem:
        if item.data == 5:
            raise error
        return item

    results = await run([(stage(execution_type=lane), in_lane(lane, act)), (stage("end"), same)], range(10))
    assert outcomes(results) == {"succeeded": 9, "failed": 1}
    assert [result.error for result in results if not result.success] == [error]


@pytest.mark.fault("A9")
async def test_unbounded_recursion_fails_the_item() -> None:
    def down(n: int) -> int:
        return down(n + 1)

    results = await run([(stage(), each(lambda n: down(n) if n == 1 else n))], range(3))
    assert outcomes(results) == {"succeeded": 2, "failed": 1}


async def test_a_handler_cancelled_from_inside_fails_its_item() -> None:
    async def act(item: WorkItem) -> WorkItem:
        if item.data == 1:
            raise asyncio.CancelledError
        return item

    results = await run([(stage(), act)], range(3))
    assert outcomes(results) == {"succeeded": 2, "failed": 1}
    (error,) = [result.error for result in results if result.error]
    assert isinstance(error, ItemError)
    assert "from inside" in str(error)


@pytest.mark.fault("A1")
@pytest.mark.promise("P12")
async def test_one_of_ten_thousand_fails_alone() -> None:
    def act(data: int) -> int:
        if data == 5000:
            raise ValueError
        return data

    stages = [(stage(name, queue_size=100, workers=5), each(act if name == "b" else int)) for name in "abc"]
    results = await run(stages, range(10_000))
    assert outcomes(results) == {"succeeded": 9_999, "failed": 1}


async def test_skip_counts_a_failed_item_as_skipped() -> None:
    async def fail(item: WorkItem) -> None:
        raise ValueError

    results = await run([(stage(on_error="skip"), fail)], range(3))
    assert outcomes(results) == {"skipped": 3}


async def test_fail_run_ends_the_run_with_the_item_named() -> None:
    async def act(item: WorkItem) -> WorkItem:
        if item.job_id == "i3":
            raise ValueError("bad")
        await asyncio.sleep(0)
        return item

    lives = Lives()
    made = pipeline(
        [(stage(on_error="fail_run"), act)],
        (WorkItem(n, job_id=f"i{n}") for n in range(100)),
        observers=(lives,),
    )
    with pytest.raises(ItemsFailedError, match="item i3 failed in stage 'only': ValueError: bad") as caught:
        await made.run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert lives.faults == []
    assert lives.ends["failed"] == 1
    assert lives.ends["succeeded"] < 99


@pytest.mark.parametrize("lane", LANES)
async def test_a_failed_unit_is_tried_again(lane: ExecutionType) -> None:
    tries: dict[int, int] = {}

    def act(item: WorkItem) -> int:
        tries[item.data] = tries.get(item.data, 0) + 1
        if tries[item.data] <= item.data:
            raise ConnectionError(item.data)
        return tries[item.data]

    retry = Retry(attempts=3, initial_s=0.001)
    results = await run([(stage(execution_type=lane, retry=retry), in_lane(lane, act))], range(5))
    assert outcomes(results) == {"succeeded": 3, "failed": 2}
    assert sorted(data_of(results)) == [1, 2, 3]
    assert tries == {0: 1, 1: 2, 2: 3, 3: 3, 4: 3}


async def test_a_waiting_item_leaves_its_worker() -> None:
    failed: set[int] = set()
    done: list[int] = []

    async def act(item: WorkItem) -> WorkItem:
        if item.data == 0 and not failed:
            failed.add(0)
            raise ConnectionError
        done.append(item.data)
        return item

    retry = Retry(attempts=2, initial_s=0.05, jitter=False)
    await run([(stage(workers=1, retry=retry), act)], range(10))
    assert done == [*range(1, 10), 0]


async def test_those_that_wait_for_their_next_attempt_are_bounded() -> None:
    first: set[int] = set()
    most = 0

    async def act(item: WorkItem) -> WorkItem:
        nonlocal most
        if item.data not in first:
            first.add(item.data)
            most = max(most, len(first))
            raise ConnectionError
        first.discard(item.data)
        first.add(-item.data - 1)
        return item

    retry = Retry(attempts=2, initial_s=0.005, jitter=False)
    results = await run([(stage(workers=1, queue_size=2, retry=retry), act)], range(20))
    assert outcomes(results) == {"succeeded": 20}


colour: ContextVar[str] = ContextVar("colour", default="none")


async def test_threads_see_the_callers_context() -> None:
    colour.set("red")

    def act(item: WorkItem) -> tuple[str, bool]:
        return colour.get(), threading.current_thread().daemon

    results = await run([(stage(execution_type=ExecutionType.THREAD), act)], [1])
    assert data_of(results) == [("red", True)]


@pytest.mark.parametrize("lane", LANES)
async def test_setup_runs_once_in_each_worker(lane: ExecutionType) -> None:
    places: list[int] = []
    barrier = threading.Barrier(2, timeout=10)

    def setup() -> None:
        places.append(threading.get_ident())

    def act(item: WorkItem) -> WorkItem:
        if lane is ExecutionType.THREAD:
            barrier.wait()
        return item

    await run([(stage(workers=2, execution_type=lane, setup=setup), in_lane(lane, act))], range(4))
    assert len(places) == 2


@pytest.mark.parametrize("lane", LANES)
async def test_a_setup_that_raises_fails_the_run(lane: ExecutionType) -> None:
    def setup() -> None:
        raise OSError("no licence")

    made = pipeline([(stage(execution_type=lane, setup=setup), in_lane(lane, lambda item: item))], range(5))
    with pytest.raises(Exception, match="no licence"):
        async with asyncio.timeout(10):
            await made.run()


async def test_too_large_a_result_fails_its_item() -> None:
    results = await run([(stage(max_item_bytes=100), each(lambda n: b"x" * n))], [10, 1000])
    assert outcomes(results) == {"succeeded": 1, "failed": 1}
    (error,) = [result.error for result in results if result.error]
    assert isinstance(error, ItemError)
    assert error.item_code == "too_large"
