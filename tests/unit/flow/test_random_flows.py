"""Whatever the pipeline, whatever fails and whenever it is cancelled: items add up and the run ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, StageConfig, WorkItem, WorkItemResult
from cableway.errors import RunFailedError
from cableway.flow.config import Batch, Retry
from cableway.items import DROP
from tests.unit.flow.harness import Lives

BEHAVIOURS = (
    "same", "data", "wait", "sleep", "none", "drop", "raise", "exit", "cancelled", "list", "generator",
    "async_generator", "half", "item", "empty",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """One pipeline, what its handlers do with which item, and what happens to it."""

    stages: tuple[StageConfig, ...]
    behaviours: tuple[tuple[str, ...], ...]
    items: int
    ids: bool
    tracking: bool
    observed: bool
    end: str
    after: int
    grace_s: float
    source: str


class OddError(Exception):
    """What the handlers raise."""


def handler_for(behaviours: tuple[str, ...], lane: ExecutionType) -> Callable[[WorkItem], Any]:  # noqa: C901 - a case for each
    seen = iter(range(10**9))

    def values(kind: str) -> Iterator[Any]:
        yield 1
        if kind == "half":
            raise OddError(kind)
        yield 2

    async def async_values() -> AsyncIterator[Any]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    def act(item: WorkItem, kind: str) -> Any:
        match kind:
            case "none" | "drop":
                return None if kind == "none" else DROP
            case "raise":
                raise OddError
            case "exit":
                raise SystemExit(7)
            case "cancelled":
                raise asyncio.CancelledError
            case "list":
                return [WorkItem(1), WorkItem(2), item]
            case "generator" | "half":
                return values(kind)
            case "empty":
                return iter_nothing()
            case "item":
                return WorkItem("other")
            case "data":
                return {"new": 1}
            case _:
                return item

    async def on_loop(item: WorkItem) -> Any:
        kind = behaviours[next(seen) % len(behaviours)]
        if kind in {"wait", "sleep"}:
            await asyncio.sleep(0 if kind == "wait" else 0.001)
        return async_values() if kind == "async_generator" else act(item, kind)

    def in_thread(item: WorkItem) -> Any:
        return act(item, behaviours[next(seen) % len(behaviours)])

    return on_loop if lane is ExecutionType.ASYNC else in_thread


def iter_nothing() -> Iterator[Any]:
    yield from ()


@st.composite
def stage_configs(draw: st.DrawFn, index: int) -> StageConfig:
    shape = draw(st.sampled_from(["plain", "plain", "plain", "batch", "gather", "ordered"]))
    return StageConfig(
        name=f"s{index}",
        execution_type=draw(st.sampled_from([ExecutionType.ASYNC] * 4 + [ExecutionType.THREAD])),
        workers=draw(st.integers(1, 3)),
        queue_size=draw(st.sampled_from([1, 1, 2, 5, 200])),
        retry=draw(st.sampled_from([None, None, Retry(attempts=3, initial_s=0.001)])),
        timeout_s=draw(st.sampled_from([None, None, None, 5.0])),
        queue_timeout_s=draw(st.sampled_from([None, None, None, None, 0.002])),
        on_error=draw(st.sampled_from(["dead_letter", "dead_letter", "dead_letter", "skip", "fail_run"])),
        batch=Batch(count=3, period_s=0.01) if shape == "batch" else None,
        gather=shape == "gather" or None,
        ordered=shape == "ordered",
        queue_bytes=draw(st.sampled_from([None, None, 200])),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 4))
    return Plan(
        stages=tuple(draw(stage_configs(index)) for index in range(count)),
        behaviours=tuple(
            tuple(draw(st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=6))) for _ in range(count)
        ),
        items=draw(st.integers(0, 30)),
        ids=draw(st.booleans()),
        tracking=draw(st.booleans()),
        observed=draw(st.booleans()),
        end=draw(
            st.sampled_from(["drain", "drain", "stop", "cancel", "cancel_run", "stop_then_cancel", "source_raises"])
        ),
        after=draw(st.integers(0, 20)),
        grace_s=draw(st.sampled_from([0.0, 0.005])),
        source=draw(st.sampled_from(["list", "generator", "async", "refill"])),
    )


def items_of(plan: Plan) -> Iterator[Any]:
    for number in range(plan.items):
        if plan.end == "source_raises" and number == plan.after:
            raise OddError("source")
        yield WorkItem(number, job_id=f"i{number % 25}") if plan.ids else number


async def async_items(plan: Plan) -> AsyncIterator[Any]:
    for item in items_of(plan):
        await asyncio.sleep(0)
        yield item


class Refilled(ETLPipeline):
    """The seed's way to give items."""

    plan: Plan
    left: Iterator[Any] | None = None

    async def refill_queue(self, count: int) -> list[Any]:
        if self.left is None:
            self.left = items_of(self.plan)
        return [item for item, _ in zip(self.left, range(max(1, min(count, 3))), strict=False)]


def build(plan: Plan, lives: Lives) -> ETLPipeline:
    config = ETLPipelineConfig(
        stages=plan.stages, stats_interval_seconds=0, enable_tracking=plan.tracking, queue_refresh_rate=0.01
    )
    observers = (lives,) if plan.observed else ()
    if plan.source == "refill":
        made: ETLPipeline = Refilled(config, observers=observers)
        made.plan = plan  # type: ignore[attr-defined]
    else:
        source: Any = async_items(plan) if plan.source == "async" else items_of(plan)
        # A list takes the error before the run begins, so it is left to the other sources.
        if plan.source == "list" and plan.end != "source_raises":
            source = list(source)
        made = ETLPipeline(config, source, observers=observers)
    for stage, behaviours in zip(plan.stages, plan.behaviours, strict=True):
        made.register_stage_handler(stage.name, handler_for(behaviours, stage.execution_type))
    return made


async def drive(plan: Plan, lives: Lives) -> None:
    made = build(plan, lives)
    seen = 0

    async def on_end(result: WorkItemResult) -> None:
        nonlocal seen
        seen += 1
        if seen != plan.after:
            return
        if plan.end in {"stop", "stop_then_cancel"}:
            await made.stop()
        if plan.end in {"cancel", "stop_then_cancel"}:
            await made.cancel(plan.grace_s)

    made.add_completion_callback(on_end)
    task = asyncio.create_task(made.run())
    if plan.end == "cancel_run":
        for _ in range(plan.after * 3):
            await asyncio.sleep(0)
        task.cancel()
    with contextlib.suppress(OddError, RunFailedError, asyncio.CancelledError):
        async with asyncio.timeout(20):
            await task
    assert not made.is_running()
    # What the ledger found is an error of the run; the suppressed ones are those that a plan asks for.
    if task.done() and not task.cancelled() and task.exception() is not None:
        assert type(task.exception()).__name__ in {"OddError", "ItemsFailedError", "GatherTooLargeError"}, (
            task.exception()
        )
    await asyncio.sleep(0)
    left = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    assert not left, left


@pytest.mark.fault("A20")
@pytest.mark.promise("P10")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(plan=plans())
def test_items_add_up_and_the_run_ends(plan: Plan) -> None:
    lives = Lives()
    asyncio.run(drive(plan, lives))
    assert lives.faults == []


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.fault("A20")
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(plan=plans())
def test_items_add_up_ten_thousand_times(plan: Plan) -> None:
    lives = Lives()
    asyncio.run(drive(plan, lives))
    assert lives.faults == []
