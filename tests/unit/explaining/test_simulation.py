"""The play of a run's stages: known networks take known times, and predictions hold for what they change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cableway import WorkItem
from cableway.explaining.network import RecordedStage, explained, played_s, predicted_s
from cableway.explaining.simulation import StageModel, wall_s
from cableway.explaining.times import STEPS, Times, bucket_of, counted, seconds_of
from cableway.flow.config import ETLPipelineConfig, StageConfig
from cableway.flow.pipeline import ETLPipeline
from cableway.flow.service import ServiceTimes
from cableway.testing import FakeClock


def model(
    name: str, seconds: float, *, workers: int = 1, queue: int = 10, units: int = 100, **more: float
) -> StageModel:
    taken, given_on = more.get("taken", units), more.get("given", units)
    return StageModel(
        name=name,
        workers=workers,
        queue_size=queue,
        units=units,
        taken=taken,
        given=given_on,
        times=Times({}, seconds),
    )


@given(st.integers(0, 10**15))
def test_a_time_is_known_within_its_bucket(nanoseconds: int) -> None:
    middle = seconds_of(bucket_of(nanoseconds)) * 1e9
    assert nanoseconds <= 1 or abs(middle - nanoseconds) / nanoseconds < 0.5 / STEPS + 1e-9


@given(st.lists(st.integers(1, 10**9), min_size=1))
def test_buckets_keep_the_order_of_times(times: list[int]) -> None:
    assert [bucket_of(each) for each in sorted(times)] == sorted(bucket_of(each) for each in times)
    assert sum(counted(times).values()) == len(times)


def test_one_stage_takes_its_work_by_its_workers() -> None:
    assert wall_s([model("only", 0.01, workers=4)]) == pytest.approx(0.25)


def test_a_line_takes_as_long_as_its_slowest_stage() -> None:
    stages = [model("a", 0.001), model("slow", 0.01, workers=2), model("c", 0.002)]
    assert wall_s(stages) == pytest.approx(100 * 0.005, rel=0.03)


def test_a_full_queue_holds_up_who_fills_it() -> None:
    """Bursts of the source are lost time where the queue is short."""
    bursts = Times({bucket_of(1_000): 90, bucket_of(100_000_000): 10}, 0.01)
    source = StageModel(name="a", workers=1, queue_size=1, units=200, taken=0, given=200, times=bursts)
    short = wall_s([source, model("b", 0.009, units=200, queue=1)])
    long = wall_s([source, model("b", 0.009, units=200, queue=200)])
    assert long < 0.8 * short


def test_fan_out_and_batches_are_played() -> None:
    fan_out = [
        model("a", 0.0, units=10, given=1000),
        model("b", 0.001, units=1000),
        model("c", 0.1, units=10, taken=1000),
    ]
    assert wall_s(fan_out) == pytest.approx(1.1, rel=0.02)


def test_a_long_run_is_a_multiple_of_its_first_part() -> None:
    assert wall_s([model("a", 0.001, units=10**6)]) == pytest.approx(1000, rel=0.01)


def recorded(name: str, seconds: float, *, workers: int = 1, lane: str = "async", units: int = 200) -> RecordedStage:
    times = counted([round(seconds * 1e9)] * units)
    return RecordedStage(
        name=name, lane=lane, workers=workers, queue_size=10, units=units, taken=units, given=units,
        work_s=seconds * units, blocked_s=0.0, times=times,
    )  # fmt: skip


def test_the_busiest_stage_is_named_and_more_workers_for_it_proposed() -> None:
    stages = [
        recorded("read", 0.001),
        replace(recorded("store", 0.01, workers=2), blocked_s=0.1),
        recorded("end", 0.004),
    ]
    found = explained(stages, 1.02, cores=2)
    assert found.bottleneck == "store"
    assert found.findings[1].busy == pytest.approx(0.98, abs=0.01)
    assert found.findings[2].holds_up_s == 0.1
    best = found.proposals[-1]
    assert (best.stage, best.workers) == ("store", 3)
    assert best.wall_s == pytest.approx(0.83, rel=0.05)  # then the last stage is the slowest


def test_a_computing_lane_gets_no_more_workers_than_cores() -> None:
    stages = [recorded("read", 0.0001), recorded("compute", 0.01, workers=2, lane="process")]
    assert explained(stages, 1.0, cores=2).proposals == ()
    assert explained(stages, 1.0, cores=4).proposals[-1].workers == 4


def played(workers: int) -> tuple[float, list[RecordedStage]]:
    """A real flow of 200 items, by a clock that costs nothing: how long it took, and what its stages recorded."""
    clock = FakeClock()

    async def quick(item: WorkItem) -> WorkItem:
        await asyncio.sleep(0.001)
        return item

    async def slow(item: WorkItem) -> WorkItem:
        await asyncio.sleep(0.02 if int(item.data) % 4 == 0 else 0.006)
        return item

    counts = {"read": 2, "work": workers, "end": 1}
    config = ETLPipelineConfig(
        stages=[StageConfig(name=name, workers=number, queue_size=4) for name, number in counts.items()],
        stats_interval_seconds=0,
        enable_tracking=True,
    )
    pipeline = ETLPipeline(config, source=range(200), clock=clock)
    for name, handler in (("read", quick), ("work", slow), ("end", quick)):
        pipeline.register_stage_handler(name, handler)
    results = clock.run(pipeline.run())
    statistics = {stage.name: stage for stage in pipeline.stage_statistics()}
    stages: list[RecordedStage] = []
    for name, number in counts.items():
        times = [(result.metadata.get_stage_duration(name) or 0.0) * 1e9 for result in results]
        of_stage = statistics[name]
        stages.append(
            RecordedStage(
                name=name,
                lane="async",
                workers=number,
                queue_size=4,
                units=200,
                taken=200,
                given=200,
                work_s=sum(times) / 1e9,
                blocked_s=of_stage.blocked_s,
                times=counted(round(each) for each in times),
            )
        )
    return clock.elapsed_s, stages


@pytest.mark.parametrize("workers", [3, 4, 8])
def test_a_prediction_is_within_a_fifth_of_the_run_after_the_change(workers: int) -> None:
    before_s, stages = played(2)
    found = explained(stages, before_s, cores=2)
    assert found.bottleneck == "work"
    assert found.replayed_s == pytest.approx(before_s, rel=0.05)
    assert stages[0].blocked_s > 0.5  # the first stage waited for it
    as_it_was = played_s(stages, cores=2)
    predicted = predicted_s(stages, before_s, cores=2, workers={"work": workers}, as_it_was=as_it_was)
    assert predicted == pytest.approx(played(workers)[0], rel=0.2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"serial": True}, "one item at a time"),
        ({"taken": 1}, "came of one item"),
        ({"limits": ("crm_api",)}, "shares crm_api"),
        ({"per_s": 100}, "its rate_per_s lets 100 begin in a second"),
        ({"lane": "process"}, "wants a processor, and there are 1"),
    ],
)
def test_where_more_workers_cannot_help_none_are_proposed(change: dict[str, Any], words: str) -> None:
    stages = [recorded("read", 0.0001), replace(recorded("store", 0.01), **change)]
    found = explained(stages, 2.05, cores=1)
    assert found.bottleneck == "store"
    assert found.proposals == ()
    assert words in (found.no_more or "")


def test_no_prediction_is_below_what_the_loop_computes_and_the_rate_lets() -> None:
    stages = [recorded("read", 0.0001), recorded("store", 0.01)]
    assert explained(stages, 2.05, cores=8, loop_s=1.5).proposals[-1].wall_s >= 1.5
    limited = [stages[0], replace(stages[1], per_s=150.0)]
    assert explained(limited, 2.05, cores=8).proposals[-1].wall_s == pytest.approx(200 / 150)
    busy_loop = explained(stages, 2.05, cores=8, loop_s=2.0)
    assert busy_loop.proposals == ()
    assert "the event loop computes nearly all the time" in (busy_loop.no_more or "")


def test_the_start_and_the_end_stay_as_they_were() -> None:
    stages = [recorded("read", 0.0001), recorded("store", 0.01)]
    found = explained(stages, 12.05, flow_s=2.05, cores=8)
    assert found.start_s == pytest.approx(10)
    assert 10.4 < found.proposals[-1].wall_s < 11.2
    assert found.findings[1].busy > 0.9


def test_a_slow_beginning_is_played_as_a_beginning() -> None:
    slow = replace(recorded("read", 0.001, units=20), work_s=1.02, firsts_s=(1.0,))
    assert played_s([slow, recorded("store", 0.05, units=20)], cores=2) == pytest.approx(2.0, rel=0.02)


def test_long_times_are_all_kept() -> None:
    times = ServiceTimes()
    for _ in range(10_000):
        times.sample(3_000_000)
        assert times.skip == 0
    assert (times.units, times.busy_ns) == (10_000, 30_000_000_000)
    assert times.firsts_ns == [3_000_000] * 4
    assert times.by_bucket == {bucket_of(3_000_000): 9_996}


def test_of_short_times_one_stands_for_many() -> None:
    times = ServiceTimes()
    timed = 0
    for number in range(100_000):
        if times.skip:
            times.skip -= 1
            continue
        times.sample(100_000 if number % 16 == 0 else 4_000)
        timed += 1
    assert timed < 20_000
    assert times.units == pytest.approx(100_000, abs=20)
    assert times.busy_ns == pytest.approx(100_000 * (100_000 + 15 * 4_000) / 16, rel=0.05)
