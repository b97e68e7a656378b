"""How a run ends: drained, stopped, cancelled, or by its source's fault."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, WorkItem
from cableway.errors import AccountingError
from tests.unit.flow.harness import Lives, ended, outcomes, pipeline, run, same, stage, until


def breaks_at(k: int, closed: list[bool] | None = None) -> Iterator[int]:
    try:
        yield from range(k)
        raise OSError("the source is gone")
    finally:
        if closed is not None:
            closed.append(True)


async def breaks_async_at(k: int) -> AsyncIterator[int]:
    for n in range(k):
        yield n
    raise OSError("the source is gone")


class BreaksAt(ETLPipeline):
    left = 777
    calls = 0

    async def refill_queue(self, count: int) -> list[WorkItem]:
        self.calls += 1
        if self.left == 0:
            raise OSError("the source is gone")
        give = min(count, self.left)
        self.left -= give
        return [WorkItem(n) for n in range(give)]


@pytest.mark.fault("A12")
@pytest.mark.promise("P15")
@pytest.mark.parametrize("kind", ["generator", "async", "thread", "refill"])
async def test_what_a_source_gave_before_it_raised_drains(kind: str) -> None:
    lives = Lives()
    config = ETLPipelineConfig(stages=[stage(queue_size=50)], stats_interval_seconds=0)
    if kind == "refill":
        made: ETLPipeline = BreaksAt(config, observers=(lives,))
    else:
        source: Any = breaks_async_at(777) if kind == "async" else breaks_at(777)
        made = ETLPipeline(config, source, observers=(lives,), source_in_thread=kind == "thread")
    made.register_stage_handler("only", same)
    with pytest.raises(OSError, match="the source is gone"):
        async with asyncio.timeout(10):
            await made.run()
    assert lives.ends == {"succeeded": 777}
    assert lives.faults == []
    if isinstance(made, BreaksAt):
        assert made.left == 0
        calls = made.calls
        await asyncio.sleep(0)
        assert made.calls == calls


@pytest.mark.fault("A14")
async def test_an_empty_source_is_an_empty_run() -> None:
    assert await run([(stage(), same)], []) == []


@pytest.mark.fault("A14")
@pytest.mark.parametrize("given", [None, [None], [1, None]])
async def test_none_is_no_item(given: Any) -> None:
    class Gives(ETLPipeline):
        async def refill_queue(self, count: int) -> Any:
            return given

    made = Gives(ETLPipelineConfig(stages=[stage()], stats_interval_seconds=0))
    made.register_stage_handler("only", same)
    with pytest.raises(TypeError, match="gave None"):
        await made.run()


async def test_an_item_may_hold_none() -> None:
    assert outcomes(await run([(stage(), same)], [WorkItem(None)])) == {"succeeded": 1}


async def test_stop_then_run_gives_what_finished() -> None:
    numbers = iter(range(10**9))
    made = pipeline([(stage(), same), (stage("end"), same)], numbers)
    await made.start()
    await until(lambda: ended(made) >= 50)
    await made.stop()
    async with asyncio.timeout(5):
        results = await made.run()
    assert len(results) >= 50
    assert outcomes(results) == {"succeeded": len(results)}
    assert not made.is_running()


async def test_stop_ends_a_source_that_waits_and_closes_it() -> None:
    closed: list[bool] = []

    async def waits() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    made = pipeline([(stage(), same)], waits())
    await made.start()
    await until(lambda: ended(made) >= 1)
    await made.stop()
    async with asyncio.timeout(5):
        assert outcomes(await made.run()) == {"succeeded": 1}
    assert closed == [True]


@pytest.mark.parametrize("end", ["stop", "cancel"])
async def test_a_callback_may_end_the_run(end: str) -> None:
    lives = Lives()
    made = pipeline([(stage(), same)], iter(range(10**9)), observers=(lives,))

    async def after_ten(result: Any) -> None:
        if lives.ends["succeeded"] >= 10:
            await (made.stop() if end == "stop" else made.cancel())

    made.add_completion_callback(after_ten)
    async with asyncio.timeout(5):
        results = await made.run()
    assert len(results) >= 10
    assert lives.faults == []


async def test_stopping_what_does_not_run_is_only_said(caplog: pytest.LogCaptureFixture) -> None:
    made = pipeline([(stage(), same)], [])
    await made.stop()
    await made.cancel()
    assert "nothing to stop" in caplog.text


async def held(count: int, lane: ExecutionType, **settings: Any) -> tuple[ETLPipeline, Lives, threading.Event]:
    """A run whose only worker holds the first item until the event."""
    gate = threading.Event()
    lives = Lives()

    async def on_loop(item: WorkItem) -> WorkItem:
        while not gate.is_set():  # noqa: ASYNC110 - one gate for both lanes
            await asyncio.sleep(0.001)
        return item

    def in_thread(item: WorkItem) -> WorkItem:
        gate.wait(30)
        return item

    handler: Any = in_thread if lane is ExecutionType.THREAD else on_loop
    made = pipeline(
        [(stage(workers=1, execution_type=lane, **settings), handler), (stage("end"), same)],
        range(count),
        observers=(lives,),
    )
    await made.start()
    await until(lambda: "started" in lives.states.values())
    return made, lives, gate


@pytest.mark.parametrize("lane", [ExecutionType.ASYNC, ExecutionType.THREAD])
async def test_cancel_ends_what_waits_and_what_works(lane: ExecutionType) -> None:
    made, lives, gate = await held(10, lane)
    try:
        await made.cancel()
        async with asyncio.timeout(5):
            results = await made.run()
    finally:
        gate.set()
    assert set(outcomes(results)) == {"cancelled"}
    assert lives.faults == []


@pytest.mark.parametrize("lane", [ExecutionType.ASYNC, ExecutionType.THREAD])
async def test_what_works_may_end_within_the_grace(lane: ExecutionType) -> None:
    made, lives, gate = await held(10, lane)
    await made.cancel(5.0)
    gate.set()
    async with asyncio.timeout(3):
        results = await made.run()
    assert set(outcomes(results)) == {"cancelled"}  # it has another stage before it
    (first,) = [result for result in results if result.metadata.get_stage_duration("only") is not None]
    assert first.metadata.current_stage == "error"
    assert lives.faults == []


async def test_a_second_cancel_shortens_the_grace() -> None:
    made, lives, gate = await held(3, ExecutionType.ASYNC)
    await made.cancel(60.0)
    await asyncio.sleep(0)
    await made.cancel()
    async with asyncio.timeout(5):
        await made.run()
    gate.set()
    assert lives.faults == []


@pytest.mark.parametrize("lane", [ExecutionType.ASYNC, ExecutionType.THREAD])
async def test_cancelling_whoever_awaits_the_run_cancels_the_run(lane: ExecutionType) -> None:
    made, lives, gate = await held(5, lane)
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    gate.set()
    assert not made.is_running()
    assert lives.told == ["run_started", "run_ended"]
    assert lives.faults == []


def test_a_run_that_nobody_awaits_ends_with_its_loop() -> None:
    lives = Lives()

    async def stubborn(item: WorkItem) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        made = pipeline([(stage(workers=1), stubborn)], range(5), observers=(lives,))
        await made.start()
        await until(lambda: "started" in lives.states.values())

    asyncio.run(asyncio.wait_for(main(), 10))
    assert lives.told == ["run_started", "run_ended"]
    assert lives.ends["cancelled"] == sum(lives.ends.values())
    assert lives.faults == []


@pytest.mark.promise("P10")
async def test_items_that_do_not_add_up_fail_the_run() -> None:
    async def lose(item: WorkItem) -> WorkItem:
        made._run.ledger.emitted += item.data == 2  # type: ignore[union-attr]
        return item

    made = pipeline([(stage(), lose)], range(5))
    with pytest.raises(AccountingError, match="6 items were emitted and 5 ended"):
        await made.run()


@pytest.mark.promise("P14")
async def test_a_fast_source_waits_for_a_slow_sink() -> None:
    given = 0
    behind: list[int] = []

    def source() -> Iterator[int]:
        nonlocal given
        for n in range(300):
            given += 1
            yield n

    async def slow(item: WorkItem) -> WorkItem:
        await asyncio.sleep(0)
        behind.append(given - item.data)
        return item

    await run([(stage(queue_size=5, workers=1), same), (stage("slow", workers=1, queue_size=5), slow)], source())
    assert max(behind) <= 5 + 5 + 5 + 3


@pytest.mark.fault("A15")
@pytest.mark.parametrize("workers", [1, 3])
async def test_a_million_children_pass_queues_of_one(workers: int) -> None:
    async def many(item: WorkItem) -> Any:
        for n in range(20_000):
            yield n

    made = pipeline(
        [(stage("many", queue_size=1, workers=workers), many), (stage("end", queue_size=1, workers=workers), same)],
        ["root"],
        enable_tracking=False,
    )
    async with asyncio.timeout(50):
        await made.run()
    assert (await made.get_pipeline_stats())["completed_items"] == 20_001


async def test_other_tasks_run_while_a_backlog_is_worked_off() -> None:
    done = 0
    longest = 0
    over = asyncio.Event()

    async def counted(item: Any) -> Any:
        nonlocal done
        done += 1
        return item

    async def beat() -> None:
        nonlocal longest
        last = done
        while not over.is_set():
            await asyncio.sleep(0)
            longest, last = max(longest, done - last), done

    task = asyncio.create_task(beat())
    stages = [(stage(name, workers=10, queue_size=10_000), counted) for name in "abc"]
    await run(stages, range(30_000), enable_tracking=False, within_s=50)
    over.set()
    await task
    assert done == 90_000
    assert longest < 20_000, "of 90,000, so a turn ends by the clock and not with the backlog"


async def test_tasks_and_threads_that_handlers_leave_are_said(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    kept: list[Any] = []

    async def forgotten() -> None:
        await asyncio.sleep(3600)

    async def act(item: WorkItem) -> WorkItem:
        kept.append(asyncio.create_task(forgotten()))
        thread = threading.Thread(target=release.wait, name="left-behind")
        thread.start()
        kept.append(thread)
        return item

    async with asyncio.timeout(5):
        await run([(stage(), act)], [1])
    release.set()
    task, thread = kept
    thread.join()
    task.cancel()
    assert "1 threads running, which keep the process alive: left-behind" in caplog.text
    if hasattr(task, "get_context"):
        assert "1 tasks running: " in caplog.text
        assert "forgotten" in caplog.text


async def test_a_handler_that_blocks_the_loop_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def act(item: WorkItem) -> WorkItem:
        time.sleep(0.2)  # noqa: ASYNC251 - the fault itself
        return item

    await run([(stage(), act)], [1], loop_blocked_after_s=0.05)
    assert caplog.text.count("loop_blocked") == 1
    assert "in act" in caplog.text


async def test_a_quiet_run_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    await run([(stage(), same)], range(100), loop_blocked_after_s=5.0)
    assert caplog.text == ""
