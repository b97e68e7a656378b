"""The seed's calls, and what a pipeline promises around them."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cableway import (
    ETLPipeline,
    ETLPipelineConfig,
    ExecutionType,
    ItemTracker,
    StageConfig,
    WorkItem,
    WorkItemResult,
)
from tests.unit.flow.harness import data_of, ended, outcomes, pipeline, run, same, stage, until


class Numbers(ETLPipeline):
    """Gives as many items as it was told, as the seed's quick start does."""

    def __init__(self, config: ETLPipelineConfig, count: int = 100) -> None:
        super().__init__(config)
        self.items_to_process = count
        self.items_generated = 0
        self.given: list[WorkItem] = []

    async def refill_queue(self, count: int) -> list[WorkItem]:
        items: list[WorkItem] = []
        for _ in range(count):
            if self.items_generated >= self.items_to_process:
                break
            items.append(WorkItem(data={"id": self.items_generated}))
            self.items_generated += 1
        self.given += items
        return items


async def fetch(item: WorkItem) -> WorkItem:
    item.data["raw"] = str(item.data["id"])
    return item


def parse(item: WorkItem) -> WorkItem:
    item.data["parsed"] = int(item.data["raw"])
    return item


async def store(item: WorkItem) -> WorkItem:
    item.data["stored"] = math.sqrt(item.data["parsed"])
    return item


def config(**settings: Any) -> ETLPipelineConfig:
    chosen: dict[str, Any] = {
        "pipeline_name": "my_pipeline",
        "stages": [
            StageConfig(name="fetch", execution_type=ExecutionType.ASYNC, workers=10, queue_size=20),
            StageConfig(name="parse", execution_type=ExecutionType.THREAD, workers=3, queue_size=10),
            StageConfig(name="store", execution_type=ExecutionType.ASYNC, workers=10, queue_size=20),
        ],
        "queue_refresh_rate": 1.0,
        "stats_interval_seconds": 10.0,
        "enable_tracking": True,
        **settings,
    }
    return ETLPipelineConfig(**chosen)


def numbers(count: int = 100, **settings: Any) -> Numbers:
    made = Numbers(config(**settings), count)
    made.register_stage_handler("fetch", fetch)
    made.register_stage_handler("parse", parse)
    made.register_stage_handler("store", store)
    return made


async def test_the_quick_start() -> None:
    made = numbers()
    seen: list[WorkItemResult] = []
    made.add_completion_callback(seen.append)
    results = await made.run()
    assert len(results) == 100
    assert all(result.success and result.error is None for result in results)
    assert {result.job_id for result in results} == {result.job_id for result in seen}
    # The caller's own items are those that travelled.
    assert all(item.data["stored"] == math.sqrt(item.data["id"]) for item in made.given)
    for result in results:
        assert result.total_duration is not None
        durations = [result.metadata.get_stage_duration(name) for name in ("fetch", "parse", "store")]
        assert all(duration is not None and duration >= 0 for duration in durations)
        assert result.metadata.current_stage == "completed"
        assert result.metadata.completed is not None
        assert set(result.metadata.stage_timings["parse"]) == {"queued", "started", "completed"}


async def test_start_then_watch_then_run() -> None:
    made = numbers(30)
    assert not made.is_running()
    await made.start()
    assert made.is_running()
    while made.is_running():
        stats = await made.get_pipeline_stats()
        assert 0 <= stats["success_rate"] <= 1
        await asyncio.sleep(0)
    results = await made.run()
    assert len(results) == 30
    assert not made.is_running()


async def test_the_statistics_have_the_seeds_keys() -> None:
    made = numbers(10)
    before = await made.get_pipeline_stats()
    assert (before["active_items"], before["completed_items"], before["average_duration_seconds"]) == (0, 0, None)
    await made.run()
    stats = await made.get_pipeline_stats()
    assert stats["active_items"] == 0
    assert stats["active_by_stage"] == {}
    assert stats["completed_items"] == 10
    assert stats["success_rate"] == 1.0
    assert stats["average_duration_seconds"] > 0
    assert {f"average_{name}_duration_seconds" for name in ("fetch", "parse", "store")} < set(stats)
    assert stats["average_parse_duration_seconds"] > 0


async def test_a_pipeline_can_be_run_again() -> None:
    made = numbers(5)
    assert len(await made.run()) == 5
    made.items_generated = 0
    await made.start()
    assert len(await made.run()) == 5


async def test_start_while_running_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    made = numbers(5)
    await made.start()
    await made.start()
    assert "running already" in caplog.text
    assert len(await made.run()) == 5


async def test_active_items_are_the_callers_own() -> None:
    gate = asyncio.Event()

    async def wait(item: WorkItem) -> WorkItem:
        await gate.wait()
        return item

    items = [WorkItem(number) for number in range(3)]
    made = pipeline([(stage(workers=1), wait)], items)
    await made.start()
    await until(lambda: made._run is not None and made._run.ledger.emitted == 3)
    assert set(await made.get_active_items()) == set(items)
    stats = await made.get_pipeline_stats()
    assert stats["active_items"] == 3
    assert stats["active_by_stage"] == {"only": 3}
    assert sorted(item.metadata.current_stage for item in items) == ["only"] * 3
    gate.set()
    await made.run()
    assert await made.get_active_items() == []


async def test_without_tracking_there_are_counts_and_no_results() -> None:
    made = numbers(20, enable_tracking=False)
    seen: list[WorkItemResult] = []
    made.add_completion_callback(seen.append)
    assert await made.run() == []
    assert len(seen) == 20
    assert (await made.get_pipeline_stats())["completed_items"] == 20
    assert await made.get_active_items() == []


async def test_failed_items_are_in_the_results() -> None:
    async def odd(item: WorkItem) -> WorkItem:
        if item.data % 2:
            raise ValueError(item.data)
        return item

    results = await run([(stage(), odd)], range(10))
    assert outcomes(results) == {"succeeded": 5, "failed": 5}
    failed = [result for result in results if not result.success]
    assert all(isinstance(result.error, ValueError) for result in failed)
    assert all(result.metadata.current_stage == "error" for result in failed)


async def test_results_let_go_of_data_unless_told_to_keep_it() -> None:
    seen: list[Any] = []
    made = pipeline([(stage(), same)], [1, 2], keep_data=False)
    made.add_completion_callback(lambda result: seen.append(result.data))
    assert [result.data for result in await made.run()] == [None, None]
    assert seen == [1, 2]
    assert data_of(await run([(stage(), same)], [1, 2])) == [1, 2]


async def test_a_callback_that_raises_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def bad_async(result: WorkItemResult) -> None:
        raise KeyError("async")

    def bad(result: WorkItemResult) -> None:
        raise KeyError("sync")

    made = pipeline([(stage(), same)], range(2))
    made.add_completion_callback(bad)
    made.add_completion_callback(bad_async)
    assert len(await made.run()) == 2
    assert caplog.text.count("a completion callback raised") == 4


async def test_async_callbacks_have_ended_when_the_run_has() -> None:
    ended = 0

    async def slowly(result: WorkItemResult) -> None:
        nonlocal ended
        await asyncio.sleep(0.001)
        ended += 1

    made = pipeline([(stage(workers=3), same)], range(200))
    made.add_completion_callback(slowly)
    await made.run()
    assert ended == 200


async def test_a_missing_handler_is_named() -> None:
    made = Numbers(config())
    made.register_stage_handler("fetch", fetch)
    with pytest.raises(RuntimeError, match="'parse', 'store'"):
        await made.run()


def test_an_unknown_stage_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no stage is called 'load'; there are: fetch, parse, store"):
        numbers().register_stage_handler("load", fetch)


def test_a_pipeline_needs_items() -> None:
    with pytest.raises(TypeError, match="write refill_queue, or give a source"):
        ETLPipeline(config())
    with pytest.raises(TypeError, match="source must be an iterable"):
        ETLPipeline(config(), 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config must be"):
        ETLPipeline({"stages": []}, [])  # type: ignore[arg-type]


async def letters() -> AsyncIterator[str]:
    for letter in "abc":
        await asyncio.sleep(0)
        yield letter


def more_letters() -> Iterator[str]:
    yield from "abc"


@pytest.mark.parametrize("source", [["a", "b", "c"], ("a", "b", "c"), more_letters, letters, lambda: {"a", "b", "c"}])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_any_iterable_is_a_source(source: Any, in_thread: bool) -> None:
    values: Any = source() if callable(source) else source
    made = ETLPipeline(
        ETLPipelineConfig(stages=[stage()], stats_interval_seconds=0, keep_data=True),
        values,
        source_in_thread=in_thread,
    )
    made.register_stage_handler("only", same)
    assert sorted(data_of(await made.run())) == ["a", "b", "c"]


async def test_a_blocking_source_in_a_thread_leaves_the_loop_alone() -> None:
    may_go_on = threading.Event()

    def blocking() -> Iterator[int]:
        yield 1
        assert may_go_on.wait(10)
        yield 2

    config = ETLPipelineConfig(stages=[stage()], stats_interval_seconds=0, keep_data=True)
    made = ETLPipeline(config, blocking(), source_in_thread=True)
    made.register_stage_handler("only", same)
    await made.start()
    await until(lambda: ended(made) >= 1)
    may_go_on.set()
    assert data_of(await made.run()) == [1, 2]


async def test_statistics_are_logged_and_zero_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cableway")
    await run([(stage(), same)], range(3), stats_interval_seconds=0)
    assert caplog.text == ""
    await run([(stage(), same)], range(3), stats_interval_seconds=5.0)
    assert "pipeline: 0 active, 3 completed, 100.0% successful" in caplog.text


async def test_a_tracker_can_be_used_by_hand() -> None:
    tracker = ItemTracker(["fetch", "store"])
    seen: list[WorkItemResult] = []
    tracker.add_completion_callback(seen.append)
    item = WorkItem("x", job_id="one")
    await tracker.register_item(item)
    await tracker.update_item_stage("one", "fetch", "queued")
    await tracker.update_item_stage("one", "fetch", "started")
    await tracker.update_item_stage("one", "fetch", "completed")
    assert item.metadata.current_stage == "store"  # where it waits now
    assert await tracker.get_active_items() == [item]
    result = await tracker.complete_item("one")
    assert await tracker.get_completed_results() == [result] == seen
    assert result.success
    assert result.metadata.get_stage_duration("fetch") is not None
    with pytest.raises(KeyError):
        await tracker.complete_item("one")
