"""What people wrote for the engine that this one follows, with only the import changed; and what went wrong there."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, StageConfig, WorkItem, WorkItemResult
from cableway.testing import FakeClock
from tests.unit.flow.harness import stage

log = logging.getLogger("tests.seed")
HAS_INTERPRETERS = sys.version_info >= (3, 14)


async def fetch_data(item: WorkItem) -> WorkItem:
    await asyncio.sleep(0)
    item.data["raw_data"] = json.dumps({"value": item.data["id"] ** 2})
    return item


def parse_data(item: WorkItem) -> WorkItem:
    item.data["parsed"] = json.loads(item.data["raw_data"])
    return item


def compute_data(job_id: str, data: Any) -> Any:
    """In a process, with what its module imports."""
    log.info("Processing %s", job_id)
    data["computed"] = math.sqrt(data["parsed"]["value"])
    return data


def enrich_data(job_id: str, data: Any) -> Any:
    """In an interpreter, where nothing of its module is wanted: the imports stand inside."""
    import math  # noqa: PLC0415, RUF100

    data["enriched"] = math.sqrt(data["parsed"]["value"]) * 2
    data["id_there"] = job_id
    return data


async def store_data(item: WorkItem) -> WorkItem:
    await asyncio.sleep(0)
    item.data["stored"] = True
    return item


STAGES = ["fetch", "parse", "compute", *(["enrich"] if HAS_INTERPRETERS else []), "store"]
HANDLERS: dict[str, Callable[..., Any]] = {
    "fetch": fetch_data, "parse": parse_data, "compute": compute_data, "enrich": enrich_data, "store": store_data,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "fetch": {"execution_type": ExecutionType.ASYNC, "workers": 10, "queue_size": 100},
    "parse": {"execution_type": ExecutionType.THREAD, "workers": 5, "queue_size": 50},
    "compute": {"execution_type": ExecutionType.PROCESS, "workers": 2, "queue_size": 20},
    "enrich": {"execution_type": ExecutionType.INTERPRETER, "workers": 2, "queue_size": 20},
    "store": {"execution_type": ExecutionType.ASYNC, "workers": 10, "queue_size": 100},
}


class MyPipeline(ETLPipeline):
    def __init__(self, config: ETLPipelineConfig) -> None:
        super().__init__(config)
        self.items_to_process = 100
        self.items_generated = 0
        self.submitted: list[WorkItem] = []

    async def refill_queue(self, count: int) -> list[WorkItem]:
        items: list[WorkItem] = []
        for _ in range(count):
            if self.items_generated >= self.items_to_process:
                break
            items.append(WorkItem(data={"id": self.items_generated, "url": f"/item/{self.items_generated}"}))
            self.items_generated += 1
        self.submitted += items
        return items


def my_pipeline() -> MyPipeline:
    config = ETLPipelineConfig(
        pipeline_name="my_pipeline",
        stages=[StageConfig(name=name, **SHAPES[name]) for name in STAGES],
        queue_refresh_rate=1.0,
        stats_interval_seconds=10.0,
        enable_tracking=True,
    )
    pipeline = MyPipeline(config)
    for name in STAGES:
        pipeline.register_stage_handler(name, HANDLERS[name])
    return pipeline


async def test_the_four_kinds_of_handler_work_in_one_pipeline() -> None:
    pipeline = my_pipeline()
    lines: list[str] = []

    def on_complete(result: WorkItemResult) -> None:
        if result.success:
            lines.append(f"Item {result.job_id} completed in {result.total_duration:.2f}s")
        else:
            lines.append(f"Item {result.job_id} failed: {result.error}")

    pipeline.add_completion_callback(on_complete)
    results = await pipeline.run()
    assert sum(1 for result in results if result.success) == len(results) == len(lines) == 100
    assert not any("failed" in line for line in lines)
    # The items that were submitted are those that come back, with what the children made of their data.
    assert {item.job_id for item in pipeline.submitted} == {result.job_id for result in results}
    for item in pipeline.submitted:
        assert item.data["computed"] == item.data["id"]
        assert item.data["stored"] is True
        if HAS_INTERPRETERS:
            assert (item.data["enriched"], item.data["id_there"]) == (2 * item.data["id"], item.job_id)
        assert item.metadata.current_stage == "completed"
    for result in results:
        for name in STAGES:
            duration = result.metadata.get_stage_duration(name)
            assert duration is not None
            assert set(result.metadata.stage_timings[name]) == {"queued", "started", "completed"}


async def test_it_can_be_started_watched_and_then_run() -> None:
    pipeline = my_pipeline()
    await pipeline.start()
    seen: list[dict[str, Any]] = []
    while pipeline.is_running():
        stats = await pipeline.get_pipeline_stats()
        seen.append(stats)
        assert f"{stats['success_rate']:.2%}".endswith("%")
        assert stats["active_items"] + stats["completed_items"] <= 100
        await asyncio.sleep(0.01)
    results = await pipeline.run()
    assert len(results) == 100
    stats = await pipeline.get_pipeline_stats()
    usual = {"active_items", "active_by_stage", "completed_items", "success_rate", "average_duration_seconds"}
    assert usual | {f"average_{name}_duration_seconds" for name in STAGES} <= set(stats)
    assert stats["success_rate"] == 1.0
    # The source has nothing more, so a second run is an empty one.
    await pipeline.start()
    assert await pipeline.run() == []


# What was wrong there


class Some(ETLPipeline):
    left = 500

    async def refill_queue(self, count: int) -> list[WorkItem]:
        given = min(count, self.left)
        self.left -= given
        return [WorkItem(number) for number in range(given)]


async def keep(item: WorkItem) -> WorkItem:
    return item


def test_no_time_is_slept_away_between_looks_at_the_source() -> None:
    clock = FakeClock()

    async def main() -> int:
        config = ETLPipelineConfig(stages=[stage(queue_size=100)], queue_refresh_rate=1.0, stats_interval_seconds=0)
        made = Some(config, clock=clock)
        made.register_stage_handler("only", keep)
        return len(await made.run())

    assert clock.run(main()) == 500
    assert clock.elapsed_s == 0


@pytest.mark.parametrize("tracking", [True, False])
async def test_none_drops_the_item_whether_or_not_items_are_tracked(tracking: bool) -> None:
    async def sieve(item: WorkItem) -> WorkItem | None:
        return item if item.data % 2 else None

    config = ETLPipelineConfig(
        stages=[stage("sieve"), stage("end")], stats_interval_seconds=0, enable_tracking=tracking
    )
    made = ETLPipeline(config, range(50))
    made.register_stage_handler("sieve", sieve)
    made.register_stage_handler("end", keep)
    async with asyncio.timeout(10):
        results = await made.run()
    assert [str(result.outcome) for result in results].count("skipped") == (25 if tracking else 0)
    assert (await made.get_pipeline_stats())["completed_items"] == 50
    assert (await made.get_pipeline_stats())["success_rate"] == 1.0


async def test_a_source_that_raises_ends_the_run_and_is_not_asked_again() -> None:
    class Dead(ETLPipeline):
        asked = 0

        async def refill_queue(self, count: int) -> list[WorkItem]:
            self.asked += 1
            raise ConnectionError("the source is gone")

    made = Dead(ETLPipelineConfig(stages=[stage()], queue_refresh_rate=0.0, stats_interval_seconds=0))
    made.register_stage_handler("only", keep)
    with pytest.raises(ConnectionError, match="the source is gone"):
        async with asyncio.timeout(10):
            await made.run()
    assert made.asked == 1


async def test_stop_then_run_leaves_no_worker_and_nothing_in_a_queue() -> None:
    def forever() -> Iterator[int]:
        number = 0
        while True:
            yield (number := number + 1)

    stages = [stage("a", workers=5, queue_size=60), stage("b", workers=5)]
    made = ETLPipeline(ETLPipelineConfig(stages=stages, stats_interval_seconds=0), forever())
    for name in ("a", "b"):
        made.register_stage_handler(name, keep)
    await made.start()
    await asyncio.sleep(0)
    await made.stop()
    results = await made.run()
    assert {str(result.outcome) for result in results} <= {"succeeded"}
    assert (await made.get_pipeline_stats())["active_items"] == 0
    assert await made.get_active_items() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
