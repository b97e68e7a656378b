"""Handlers under test: what goes in, what comes out, and how each item ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cableway import ExecutionType, StageConfig, WorkItem
from cableway.flow.config import Batch
from cableway.testing import FakeClock, run_handler, run_handler_async, run_stage, run_stages
from tests.unit.testing import handlers


async def halve(item: WorkItem) -> int | None:
    if item.data < 0:
        return None
    if item.data % 2:
        raise ValueError(f"{item.data} is odd")
    return int(item.data // 2)


def test_each_item_says_how_it_ended() -> None:
    report = run_handler(halve, [WorkItem(4, job_id="four"), WorkItem(3, job_id="three"), WorkItem(-1, job_id="less")])
    assert report.outputs == [2]
    assert report.counts == {"succeeded": 1, "failed": 1, "skipped": 1}
    assert report.item("four").data == 2
    assert isinstance(report.item("three").error, ValueError)
    assert str(report.item("less").outcome) == "skipped"
    assert report.error is None
    with pytest.raises(KeyError, match="four"):
        report.item("five")


def test_the_lane_follows_from_the_handler() -> None:
    def work(item: WorkItem) -> int:
        return int(item.data) + 1

    assert run_handler(work, [1]).outputs == [2]
    assert run_handler(handlers.double, [1]).outputs == [2]


def test_a_fan_out_gives_its_children_and_not_its_parent() -> None:
    async def split(item: WorkItem) -> AsyncIterator[str]:
        for word in item.data.split():
            yield word

    report = run_handler(split, ["a b c"])
    assert report.outputs == ["a", "b", "c"]
    assert report.counts == {"succeeded": 4}


def test_stages_work_together() -> None:
    def split(item: WorkItem) -> Iterator[int]:
        yield from range(item.data)

    async def total(item: WorkItem) -> int:
        return sum(item.data)

    report = run_stages(
        [
            (StageConfig(name="split", execution_type=ExecutionType.THREAD, workers=1), split),
            (StageConfig(name="total", workers=1, batch=Batch(count=5)), total),
        ],
        [10],
    )
    assert report.outputs == [10, 35]
    assert [(stage.name, stage.queued) for stage in report.stages] == [("split", 1), ("total", 12)]


def test_what_ends_the_run_is_in_the_report() -> None:
    def broken() -> Iterator[int]:
        yield 2
        raise OSError("the source is gone")

    report = run_stage(StageConfig(name="halve"), halve, broken())
    assert report.outputs == [1]
    assert isinstance(report.error, OSError)


def test_what_is_wrong_with_the_stage_is_raised() -> None:
    with pytest.raises(TypeError, match="plain `def`"):
        run_handler(halve, [1], execution_type="process")
    with pytest.raises(TypeError, match="unheard_of"):
        run_handler(halve, [1], unheard_of=1)


async def test_a_coroutine_awaits_and_a_plain_call_is_refused() -> None:
    assert (await run_handler_async(halve, [8])).outputs == [4]
    with pytest.raises(RuntimeError, match="_async"):
        run_handler(halve, [8])


def test_a_coroutine_by_the_clock() -> None:
    clock = FakeClock()

    async def main() -> list[int]:
        return (await run_handler_async(halve, [8], clock=clock)).outputs

    assert clock.run(main()) == [4]
