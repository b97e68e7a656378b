"""A clock that need not be waited for: time passes where everything waits, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from time import monotonic
from typing import Any

import pytest

from cableway import WorkItem
from cableway.flow.config import Batch, RateLimit, Retry
from cableway.testing import FakeClock, StalledError, run_handler
from tests import need
from tests.unit.testing import handlers


class Flaky:
    """Fails so often, then gives back what it got."""

    def __init__(self, failures: int) -> None:
        self.calls = 0
        self._failures = failures

    async def in_the_loop(self, item: WorkItem) -> WorkItem:
        return self.in_a_thread(item)

    def in_a_thread(self, item: WorkItem) -> WorkItem:
        self.calls += 1
        if self.calls <= self._failures:
            raise ConnectionError("try again")
        return item


async def keep(item: WorkItem) -> WorkItem:
    return item


@pytest.mark.parametrize("lane", ["async", "thread"])
def test_a_pause_between_attempts_takes_no_time(lane: str) -> None:
    clock, began = FakeClock(), monotonic()
    flaky = Flaky(3)
    retry = Retry(attempts=4, initial_s=60, factor=10, max_s=3600, jitter=False)
    handler = flaky.in_the_loop if lane == "async" else flaky.in_a_thread
    report = run_handler(handler, [1], clock=clock, execution_type=lane, retry=retry)
    assert report.outputs == [1]
    assert clock.elapsed_s == 60 + 600 + 3600
    assert report.items[0].duration_s == clock.elapsed_s
    assert report.items[0].attempts == 4
    assert monotonic() - began < 30


def test_jitter_is_the_same_in_each_run() -> None:
    def passed(seed: int) -> float:
        clock = FakeClock(seed=seed)
        run_handler(Flaky(5).in_a_thread, [1], clock=clock, retry=Retry(attempts=6, initial_s=60))
        return clock.elapsed_s

    assert passed(1) == passed(1) != passed(2)


def test_a_rate_limit_and_a_batch_period_are_by_the_clock() -> None:
    clock = FakeClock()
    run_handler(keep, range(121), clock=clock, workers=10, rate_limit=RateLimit(per_s=2))
    assert clock.elapsed_s == 60

    async def slow() -> AsyncIterator[int]:
        for number in range(6):
            yield number
            await asyncio.sleep(20)

    clock = FakeClock()
    report = run_handler(keep, slow(), clock=clock, batch=Batch(period_s=30))
    assert report.outputs == [[0, 1], [2, 3], [4, 5]]
    assert clock.elapsed_s == 120


def test_a_handler_that_hangs_meets_its_timeout_at_once() -> None:
    clock = FakeClock()

    async def hang(item: WorkItem) -> WorkItem:
        await asyncio.sleep(1e5)
        return item

    report = run_handler(hang, range(3), clock=clock, timeout_s=20)
    assert report.counts == {"failed": 3}
    assert clock.elapsed_s == 60
    assert [item.duration_s for item in report.items] == [20, 40, 60]


def test_a_thread_may_wait_by_the_clock_and_be_left_behind() -> None:
    clock = FakeClock()

    def nap(item: WorkItem) -> WorkItem:
        clock.sleep(item.data)
        return item

    report = run_handler(nap, [5, 3600, 5], clock=clock, timeout_s=600)
    assert [str(item.outcome) for item in report.items] == ["succeeded", "failed", "succeeded"]
    assert clock.elapsed_s == 5 + 600 + 5


def test_threads_that_sleep_side_by_side_wake_in_order() -> None:
    clock = FakeClock()

    def nap(item: WorkItem) -> WorkItem:
        clock.sleep(item.data)
        return item

    report = run_handler(nap, [30, 10, 20], clock=clock, workers=3)
    assert (report.outputs, clock.elapsed_s) == ([10, 20, 30], 30)


def test_while_a_thread_works_the_time_stands() -> None:
    clock = FakeClock()
    seen: list[float] = []
    go_on = threading.Event()

    def work(item: WorkItem) -> WorkItem:
        go_on.wait(0.2)  # nobody sets it: this is the work
        seen.append(clock.elapsed_s)
        return item

    async def both() -> None:
        await asyncio.gather(asyncio.sleep(1000), asyncio.to_thread(work, WorkItem(1)))

    clock.run(both())
    assert (seen, clock.elapsed_s) == ([0.0], 1000)


def test_what_works_longer_than_somebody_waits_lets_real_time_pass() -> None:
    clock, began = FakeClock(), monotonic()

    def hang(item: WorkItem) -> WorkItem:
        time.sleep(30)
        return item

    report = run_handler(hang, [1], clock=clock, timeout_s=0.2)
    assert report.counts == {"failed": 1}
    assert 0.2 <= clock.elapsed_s < 10
    assert monotonic() - began < 20


@pytest.mark.parametrize("lane", ["process", "interpreter"])
def test_children_take_no_time(lane: str) -> None:
    if lane == "interpreter":
        need.python(3, 14)
    clock = FakeClock()
    report = run_handler(
        handlers.double, range(5), clock=clock, execution_type=lane, rate_limit=RateLimit(per_s=0.1), timeout_s=10
    )
    assert sorted(report.outputs) == [0, 2, 4, 6, 8]
    assert clock.elapsed_s == 40


def test_the_stream_of_a_child_takes_no_time() -> None:
    clock = FakeClock()
    report = run_handler(handlers.count_up, [200], clock=clock, timeout_s=5)
    assert (len(report.outputs), clock.elapsed_s) == (200, 0)


def test_a_hanging_child_is_killed_after_its_real_time() -> None:
    clock = FakeClock()
    report = run_handler(handlers.hang, [1], clock=clock, timeout_s=0.3)
    assert "0.3 s" in str(report.errors[0])


def test_a_blocking_source_is_waited_for() -> None:
    clock = FakeClock()
    release = threading.Event()

    def blocking() -> Iterator[int]:
        yield 1
        release.wait(0.1)  # nobody sets it: the source takes so long
        yield 2

    async def main() -> list[Any]:
        from cableway import ETLPipeline, ETLPipelineConfig, StageConfig

        config = ETLPipelineConfig(stages=[StageConfig(name="keep")], stats_interval_seconds=0, keep_data=True)
        pipeline = ETLPipeline(config, blocking(), source_in_thread=True, clock=clock)
        pipeline.register_stage_handler("keep", keep)
        return [result.data for result in await pipeline.run()]

    assert clock.run(main()) == [1, 2]
    assert clock.elapsed_s == 0


def test_sockets_get_the_time_to_answer() -> None:
    clock = FakeClock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, family=socket.AF_INET)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            async with asyncio.timeout(5):
                line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(60)
            return line

    assert clock.run(main()) == b"hello\n"
    assert clock.elapsed_s == 60


def test_what_can_never_happen_is_said_at_once() -> None:
    async def wait_for_nobody() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StalledError, match="wait_for_nobody"):
        FakeClock().run(wait_for_nobody())


def test_what_goes_on_for_ever_ends() -> None:
    async def tick() -> None:
        for _ in count():
            await asyncio.sleep(60)

    with pytest.raises(StalledError, match="3600 s"):
        FakeClock(limit_s=3600).run(tick())


def test_time_goes_on_in_the_next_run() -> None:
    clock = FakeClock()
    first = clock.now_ns()
    clock.run(asyncio.sleep(5))
    between = clock.now_ns()
    clock.run(asyncio.sleep(5))
    assert clock.elapsed_s == 10
    assert clock.now_ns() - between >= 5e9
    assert between - first >= 5e9


def test_it_says_how_it_is_not_to_be_used() -> None:
    clock = FakeClock()
    with pytest.raises(RuntimeError, match="does not run"):
        clock.sleep(1)

    async def block() -> None:
        clock.sleep(1)

    with pytest.raises(RuntimeError, match="block the event loop"):
        clock.run(block())

    async def again() -> None:
        clock.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="runs already"):
        clock.run(again())
