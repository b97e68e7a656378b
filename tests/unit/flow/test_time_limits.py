"""Time limits: of an attempt, of a wait in a queue; and handlers that do not stop when told to."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cableway import ExecutionType, WorkItem
from cableway.errors import ItemError
from cableway.flow.config import Batch, Retry
from tests.unit.flow.harness import Lives, outcomes, pipeline, run, same, stage, until


def error_codes(results: Any) -> set[str]:
    return {result.error.item_code for result in results if isinstance(result.error, ItemError)}


async def test_an_attempt_that_takes_too_long_fails_its_item() -> None:
    async def act(item: WorkItem) -> WorkItem:
        if item.data == 1:
            await asyncio.Event().wait()
        return item

    lives = Lives()
    results = await run([(stage(timeout_s=0.02), act), (stage("end"), same)], range(5), observers=(lives,))
    assert outcomes(results) == {"succeeded": 4, "failed": 1}
    assert error_codes(results) == {"timeout"}
    assert lives.faults == []


@pytest.mark.fault("A5")
@pytest.mark.promise("P13")
async def test_a_handler_that_swallows_its_cancellation_is_abandoned() -> None:
    async def stubborn(item: WorkItem) -> WorkItem:
        while item.data == 1:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue
        return item

    made = pipeline([(stage(timeout_s=0.02), stubborn)], range(3))
    async with asyncio.timeout(5):
        results = await made.run()
    assert outcomes(results) == {"succeeded": 2, "failed": 1}
    assert error_codes(results) == {"timeout"}
    assert made.stage_statistics()[0].abandoned == 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_each_attempt_has_its_own_time() -> None:
    tries = 0

    async def act(item: WorkItem) -> WorkItem:
        nonlocal tries
        tries += 1
        await asyncio.sleep(3600 if tries == 1 else 0)
        return item

    retry = Retry(attempts=2, initial_s=0.001)
    assert outcomes(await run([(stage(timeout_s=0.3, retry=retry), act)], [1])) == {"succeeded": 1}
    assert tries == 2


async def test_of_a_stream_each_value_has_its_time() -> None:
    async def slow(item: WorkItem) -> AsyncIterator[int]:
        for number in range(4):
            await asyncio.sleep(0.3)
            yield number

    async def stuck(item: WorkItem) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(3600)

    assert outcomes(await run([(stage(timeout_s=1), slow)], [1])) == {"succeeded": 5}
    results = await run([(stage(timeout_s=0.3), stuck)], [1])
    assert outcomes(results) == {"succeeded": 1, "failed": 1}
    assert error_codes(results) == {"timeout"}


@pytest.mark.fault("A7")
@pytest.mark.promise("P13")
async def test_a_thread_that_hangs_is_left_behind_and_replaced() -> None:
    release = threading.Event()

    def act(item: WorkItem) -> WorkItem:
        if item.data < 2:
            release.wait(60)
        return item

    made = pipeline([(stage(execution_type=ExecutionType.THREAD, timeout_s=0.5, workers=2), act)], range(8))
    try:
        async with asyncio.timeout(10):
            results = await made.run()
    finally:
        release.set()
    assert outcomes(results) == {"succeeded": 6, "failed": 2}
    assert error_codes(results) == {"timeout"}
    assert made.stage_statistics()[0].abandoned == 2


async def test_a_generator_that_hangs_in_its_thread_fails_its_item() -> None:
    release = threading.Event()

    def hangs(item: WorkItem) -> Iterator[int]:
        yield 1
        release.wait(60)
        yield 2

    try:
        results = await run([(stage(execution_type=ExecutionType.THREAD, timeout_s=0.5), hangs)], [1])
    finally:
        release.set()
    assert outcomes(results)["failed"] == 1
    assert error_codes(results) == {"timeout"}


@pytest.mark.parametrize("timeout_s", [0.02, None], ids=["too slow", "cancelled"])
async def test_a_generator_that_hung_is_closed_when_it_goes_on(timeout_s: float | None) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    kept: list[Iterator[WorkItem]] = []

    def act(item: WorkItem) -> Iterator[WorkItem]:
        try:
            begun.set()
            go_on.wait(10)
            yield item
        finally:
            closed.set()

    def keeping(item: WorkItem) -> Iterator[WorkItem]:
        kept.append(act(item))  # or the collector would close it
        return kept[-1]

    made = pipeline([(stage(execution_type=ExecutionType.THREAD, timeout_s=timeout_s), keeping)], range(1))
    running = asyncio.create_task(made.run())
    await until(begun.is_set)
    if timeout_s is None:
        running.cancel()
    await asyncio.wait((running,), timeout=10)
    assert running.done()
    assert not closed.is_set()
    go_on.set()
    await until(closed.is_set)


@pytest.mark.parametrize(
    "handler",
    [
        """
        def handler(item):
            time.sleep(3600)
        lane = "thread"
        """,
        """
        async def handler(item):
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass
        lane = "async"
        """,
    ],
)
@pytest.mark.fault("A5", "A7")
@pytest.mark.promise("P13")
def test_a_process_with_a_hanging_handler_still_exits(handler: str) -> None:
    script = textwrap.dedent(
        """
        import asyncio, time
        from cableway import ETLPipeline, ETLPipelineConfig, StageConfig
        {handler}
        async def main():
            stage = StageConfig(name="only", execution_type=lane, timeout_s=0.05)
            made = ETLPipeline(ETLPipelineConfig(stages=[stage], stats_interval_seconds=0), range(2))
            made.register_stage_handler("only", handler)
            print([str(result.outcome) for result in await made.run()])
        asyncio.run(main())
        """
    ).format(handler=textwrap.dedent(handler))
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "['failed', 'failed']"
    assert time.monotonic() - began < 15


async def test_an_item_that_waits_too_long_fails() -> None:
    gate = asyncio.Event()

    async def act(item: WorkItem) -> WorkItem:
        await gate.wait()
        return item

    lives = Lives()
    made = pipeline([(stage(workers=1, queue_timeout_s=0.3), act)], range(4), observers=(lives,))
    failed: list[Any] = []
    made.add_completion_callback(failed.append)
    await made.start()
    await until(lambda: len(failed) == 3)  # while the worker is still busy with the first
    gate.set()
    results = await made.run()
    assert outcomes(results) == {"succeeded": 1, "failed": 3}
    assert error_codes(results) == {"queue_timeout"}
    assert lives.faults == []


@pytest.mark.parametrize("settings", [{"ordered": True}, {"batch": Batch(count=2)}, {"gather": True}])
async def test_a_limited_wait_goes_with_whatever_stands_before_the_workers(settings: dict[str, Any]) -> None:
    results = await run([(stage(queue_timeout_s=5.0, **settings), same)], range(5))
    assert "failed" not in outcomes(results)
