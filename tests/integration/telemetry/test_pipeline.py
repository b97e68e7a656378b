"""The real flow under trace."""

from __future__ import annotations

import time
from typing import Any

import pytest
from opentelemetry import trace

from cableway import ETLPipeline, ETLPipelineConfig, ExecutionType, StageConfig, WorkItem
from cableway.context import RunFacts
from cableway.flow.config import Batch, Gather, Retry
from cableway.store.port import RunState, SpanRow
from cableway.telemetry import record
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings
from tests import need
from tests.fixtures.collector import Collector
from tests.integration.telemetry import pipelines

FACTS = RunFacts(run_id="r1", pipeline="flights")


async def run(
    stages: list[StageConfig], handlers: dict[str, Any], source: list[WorkItem], telemetry: RunTelemetry
) -> list[SpanRow]:
    pipeline = ETLPipeline(
        ETLPipelineConfig(pipeline_name="flights", stages=stages, enable_tracking=False, stats_interval_seconds=0),
        source=source,
        observers=telemetry.observers,
    )
    for name, handler in handlers.items():
        pipeline.register_stage_handler(name, handler)
    await pipeline.run()
    return telemetry.end(RunState.SUCCEEDED, 0)


def check_tree(rows: list[SpanRow]) -> None:
    """One trace, one root, no orphans, no id twice, and every span within the run's time."""
    ids = {row.span_id for row in rows}
    assert len(ids) == len(rows)
    assert len({row.trace_id for row in rows}) == 1
    root, *below = rows
    assert root.attributes[record.SPAN_TYPE] == "run"
    assert [row.name for row in below if row.parent_span_id not in ids] == []
    for row in below:
        assert root.start_ns <= row.start_ns <= row.end_ns <= root.end_ns


def of_type(rows: list[SpanRow], kind: str) -> list[SpanRow]:
    return [row for row in rows if row.attributes[record.SPAN_TYPE] == kind]


async def echo(item: WorkItem) -> Any:
    return item.data


@pytest.mark.parametrize("lane", [ExecutionType.PROCESS, ExecutionType.INTERPRETER])
async def test_spans_made_in_a_child_join_the_trace(lane: ExecutionType, collector: Collector) -> None:
    if lane is ExecutionType.INTERPRETER:
        need.python(3, 14)
    telemetry = RunTelemetry(
        TelemetrySettings.from_environ({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}),
        FACTS,
    )
    rows = await run(
        [StageConfig(name="load"), StageConfig(name="double", execution_type=lane, workers=2)],
        {"load": echo, "double": pipelines.double},
        [WorkItem(number, job_id=str(number)) for number in range(8)],
        telemetry,
    )
    exported = telemetry.flush()
    check_tree(rows)
    assert (len(of_type(rows, "item")), len(of_type(rows, "child"))) == (8, 8)
    works = {row.span_id: row for row in of_type(rows, "work")}
    for child in of_type(rows, "child"):
        work = works[str(child.parent_span_id)]
        assert work.attributes[record.ITEM_ID] == child.attributes[record.ITEM_ID]
        assert work.start_ns <= child.start_ns <= child.end_ns <= work.end_ns
    failed = [row for row in rows if row.status == "error"]
    assert {(row.attributes[record.SPAN_TYPE], row.attributes[record.ERROR_TYPE]) for row in failed} == {
        ("item", "ValueError"),
        ("work", "ValueError"),
        ("child", "ValueError"),
    }
    assert exported is not None
    assert (exported.dropped, len(collector.spans)) == (0, len(rows))
    assert {span.span_id.hex() for span in collector.spans} == {row.span_id for row in rows}


async def test_the_users_own_spans_in_a_child_hang_under_ours() -> None:
    telemetry = RunTelemetry(TelemetrySettings(), FACTS)
    seen: list[tuple[int, str, str]] = []

    async def look(item: WorkItem) -> None:
        seen.append(item.data)

    rows = await run(
        [StageConfig(name="ask", execution_type=ExecutionType.PROCESS, workers=1), StageConfig(name="look")],
        {"ask": pipelines.user_span, "look": look},
        [WorkItem(1), WorkItem(2)],
        telemetry,
    )
    children = {row.span_id for row in of_type(rows, "child")}
    # The first unit loads OpenTelemetry itself, so only those after it find it there.
    assert [trace_id for _, trace_id, _ in seen[1:]] == [telemetry.trace_id]
    assert {span_id for _, _, span_id in seen[1:]} < children


async def test_derived_items_and_retries_are_told(collector: Collector) -> None:
    attempts = 0

    async def flaky(item: WorkItem) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("again")
        return item.data

    telemetry = RunTelemetry(TelemetrySettings(), FACTS)
    stages = [
        StageConfig(name="spread", execution_type=ExecutionType.PROCESS, workers=1),
        StageConfig(name="flaky", retry=Retry(attempts=3, initial_s=0.001), workers=1),
        StageConfig(name="batch", batch=Batch(count=4)),
        StageConfig(name="all", gather=Gather()),
    ]
    rows = await run(
        stages,
        {"spread": pipelines.numbers, "flaky": flaky, "batch": echo, "all": echo},
        [WorkItem(10, job_id="root")],
        telemetry,
    )
    check_tree(rows)
    items = {str(row.attributes[record.ITEM_ID]): row for row in of_type(rows, "item")}
    derivations = [row.attributes.get(record.DERIVATION) for row in items.values()]
    assert {each: derivations.count(each) for each in derivations} == {None: 1, "fan_out": 10, "batch": 3, "gather": 1}
    (gather,) = [row for row in items.values() if row.attributes.get(record.DERIVATION) == "gather"]
    assert gather.attributes[record.ITEM_PARENTS_COUNT] == 3
    retried = [row for row in of_type(rows, "work") if row.events]
    assert [[event["name"] for event in row.events] for row in retried] == [["retry"]]


@pytest.mark.parametrize("lane", [ExecutionType.ASYNC, ExecutionType.THREAD])
async def test_the_users_own_spans_hang_under_the_work(lane: ExecutionType) -> None:
    seen: dict[str, str] = {}

    def current(item: WorkItem) -> Any:
        context = trace.get_current_span().get_span_context()
        assert f"{context.trace_id:032x}" == telemetry.trace_id
        seen[item.job_id] = f"{context.span_id:016x}"
        return item.data

    async def current_async(item: WorkItem) -> Any:
        return current(item)

    telemetry = RunTelemetry(TelemetrySettings(), FACTS)
    rows = await run(
        [StageConfig(name="look", execution_type=lane, workers=3)],
        {"look": current if lane is ExecutionType.THREAD else current_async},
        [WorkItem(number, job_id=str(number)) for number in range(20)],
        telemetry,
    )
    works = {str(row.attributes[record.ITEM_ID]): row.span_id for row in of_type(rows, "work")}
    assert len(seen) == 20
    assert seen == works


async def test_a_run_without_telemetry_ends_the_same() -> None:
    ends: list[int] = []
    for settings in (TelemetrySettings(), TelemetrySettings(local_spans=False)):
        telemetry = RunTelemetry(settings, FACTS)
        pipeline = ETLPipeline(
            ETLPipelineConfig(stages=[StageConfig(name="a")], stats_interval_seconds=0),
            source=[WorkItem(number) for number in range(50)],
            observers=telemetry.observers,
        )
        pipeline.register_stage_handler("a", echo)
        ends.append(len(await pipeline.run()))
    assert ends == [50, 50]


async def test_memory_is_let_go_as_items_end() -> None:
    telemetry = RunTelemetry(TelemetrySettings(), FACTS)
    began = time.monotonic()
    rows = await run(
        [StageConfig(name="a"), StageConfig(name="b")],
        {"a": echo, "b": echo},
        [WorkItem(number) for number in range(20_000)],
        telemetry,
    )
    assert len(rows) <= 1_000
    check_tree(rows)
    assert time.monotonic() - began < 20
