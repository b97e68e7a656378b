"""The trace of the real process: one for the run, its items, stages and child processes, wherever it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.collector import Collector, Reply
from tests.integration.job.process import TRACE_ID, State
from tests.unit.job.running import bloc, stage


def traced(stored: State) -> str:
    return stored.record(
        stage(bloc("numbers", batch_size=1), bloc("numbers", "side", count=2)),
        stage(bloc("pid", beside="side", lane="process")),
        stage(bloc("keep")),
    )


def test_root_item_stage_and_child_spans_arrive_in_one_trace(stored: State, collector: Collector) -> None:
    run_id = traced(stored)
    ended = stored.run(run_id, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    assert (ended.code, ended.err) == (0, "")
    spans = {span.span_id.hex(): span for span in collector.spans}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    root = next(span for span in spans.values() if span.name == "run p")
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert attribute(root, "cableway.run.id") == run_id
    for span in spans.values():
        assert span is root or span.parent_span_id.hex() in spans, "no span is an orphan"
    kinds = [attribute(span, "cableway.span.type") for span in spans.values()]
    assert kinds.count("item") == 4, "the root item and three of the source"
    assert kinds.count("run") == 1
    pids = {attribute(span, "process.pid") for span in spans.values()} - {None}
    assert len(pids) == 1, "made in the child"
    assert ended.last["trace_id"] == TRACE_ID
    assert stored.details(run_id).run.spans_dropped == 0
    assert "cableway.items" in " ".join(collector.metrics)


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(status=503), Reply(status=401)])
def test_a_collector_that_does_not_work_changes_neither_outcome_nor_exit_code(
    stored: State, collector: Collector, reply: Reply
) -> None:
    run_id = traced(stored)
    collector.always = reply
    ended = stored.run(run_id, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, CABLEWAY_TELEMETRY_FLUSH_S="0.5")
    assert (ended.code, ended.last["state"]) == (0, "succeeded")
    run = stored.details(run_id).run
    assert run.state == "succeeded"
    assert run.spans_dropped == ended.last["spans_dropped"] > 0


def test_a_noop_job_loads_nothing_that_it_does_not_use(stored: State) -> None:
    run_id = stored.record(stage(bloc("pass_through")), stage(bloc("list_modules")))
    with_lister = "tests.unit.job.blocs,tests.integration.job.lister"
    ended = stored.run(run_id, CABLEWAY_BLOCS=with_lister)
    assert ended.code == 0, ended.err
    outputs = stored.details(run_id).run.outputs
    assert outputs is not None
    loaded = set(outputs["list_modules"]["modules"])
    assert "psycopg" in loaded
    assert sorted(loaded & FORBIDDEN) == []


def test_with_local_spans_off_none_are_kept(stored: State) -> None:
    run_id = traced(stored)
    assert stored.run(run_id, CABLEWAY_LOCAL_SPANS="0").code == 0
    assert stored.spans(run_id) == ()


def attribute(span: Any, name: str) -> Any:
    for pair in span.attributes:
        if pair.key == name:
            return getattr(pair.value, pair.value.WhichOneof("value"))
    return None


FORBIDDEN = {
    "aiologic",
    "boto3",
    "croniter",
    "culsans",
    "duckdb",
    "fastapi",
    "httpx",
    "jinja2",
    "numpy",
    "opentelemetry",
    "pandas",
    "pyarrow",
    "pydantic",
    "dotenv",
    "requests",
    "rich",
    "typer",
    "yaml",
}
