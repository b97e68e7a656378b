from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from cableway.context import RunFacts
from cableway.items import WorkItem
from cableway.store.port import RunState
from cableway.telemetry import record
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings
from tests.fixtures.hand_flow import HandFlow

FACTS = RunFacts(run_id="r1", pipeline="flights", version=3, attempt=2, scheduler_name="nightly")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEAVY = ("opentelemetry", "requests", "httpx", "http.client", "ssl", "rich", "google.protobuf", "pydantic")


def test_the_run_is_the_root_and_says_how_it_went() -> None:
    telemetry = RunTelemetry(TelemetrySettings(), FACTS)
    flow = HandFlow(telemetry.observers)
    flow.pass_all(WorkItem(1))
    flow.stop()
    problem = {"type": "urn:cableway:error:source_error", "detail": "no such file", "status": 500}
    rows = telemetry.end(RunState.FAILED, 3, counts={"emitted": 1}, problem=problem)
    root = rows[0]
    assert (root.name, root.kind, root.parent_span_id, root.status) == ("run flights", "internal", None, "error")
    assert root.trace_id == telemetry.trace_id
    assert root.attributes == {
        record.SPAN_TYPE: "run",
        record.RUN_ID: "r1",
        record.PIPELINE: "flights",
        record.VERSION: 3,
        record.ATTEMPT: 2,
        record.STATE: "failed",
        record.EXIT_CODE: 3,
        record.ERROR_TYPE: "source_error",
        "cableway.scheduler.name": "nightly",
        "cableway.items.emitted": 1,
        "cableway.status.message": "no such file",
    }
    assert len(rows) == 8
    json.dumps([asdict(row) for row in rows], allow_nan=False)
    assert telemetry.flush() is None


def test_the_callers_trace_is_continued() -> None:
    telemetry = RunTelemetry(
        TelemetrySettings(),
        FACTS,
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-00",
        tracestate="a=b",
        trace_id="f" * 32,
    )
    assert telemetry.trace_id == TRACE
    root = telemetry.end(RunState.SUCCEEDED, 0)[0]
    assert (root.parent_span_id, root.kind) == ("00f067aa0ba902b7", "consumer")


def test_garbage_begins_a_trace_of_its_own() -> None:
    assert RunTelemetry(TelemetrySettings(), FACTS, traceparent="00-0-0-00", trace_id="f" * 32).trace_id == "f" * 32
    telemetry = RunTelemetry(TelemetrySettings(), FACTS, traceparent="00-0-0-00")
    assert telemetry.trace_id != TRACE
    assert telemetry.end(RunState.SUCCEEDED, 0)[0].parent_span_id is None


def test_switched_off_nobody_listens() -> None:
    telemetry = RunTelemetry(TelemetrySettings(local_spans=False), FACTS)
    assert telemetry.observers == ()
    assert telemetry.span_context(WorkItem(1)) is None
    assert telemetry.end(RunState.SUCCEEDED, 0) == []


def test_without_an_endpoint_nothing_heavy_is_loaded() -> None:
    code = f"""
import sys
from cableway.context import RunFacts
from cableway.items import WorkItem
from cableway.store.port import RunState
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings
from tests.fixtures.hand_flow import HandFlow
telemetry = RunTelemetry(TelemetrySettings.from_environ({{}}), RunFacts(run_id="r", pipeline="p"))
flow = HandFlow(telemetry.observers)
flow.pass_all(WorkItem(1))
flow.stop()
assert len(telemetry.end(RunState.SUCCEEDED, 0)) == 8
telemetry.flush()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
