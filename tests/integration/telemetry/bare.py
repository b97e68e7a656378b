"""A traced run by hand; imports nothing of OpenTelemetry, so that it also runs where that is missing."""

from __future__ import annotations

from cableway.context import RunFacts
from cableway.items import WorkItem
from cableway.store.port import RunState
from cableway.telemetry.export import Exported
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings
from cableway.telemetry.worker import SpanHook
from tests.fixtures.hand_flow import HandFlow

FACTS = RunFacts(run_id="r1", pipeline="flights")


def settings(url: str, **environ: str) -> TelemetrySettings:
    return TelemetrySettings.from_environ(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "20"} | environ
    )


def work(telemetry: RunTelemetry, items: int = 20) -> Exported:
    """Run *items* items, each with a unit in a child, and flush."""
    flow = HandFlow(telemetry.observers)
    hook = SpanHook()
    for number in range(items):
        item = WorkItem(number, job_id=str(number))
        flow.pass_stage(item, "load")
        flow.queue(item, "clean")
        flow.start(item, "clean")
        for observer in telemetry.observers:
            carrier = observer.carrier(item, "clean", "clean")
            assert carrier is not None
            with hook.unit(carrier, "clean", "clean", item.job_id):
                pass
            observer.worker_reported("clean", "clean", hook.drain())
        flow.finish(item, "clean")
        flow.end(item)
    flow.stop()
    telemetry.end(RunState.SUCCEEDED, 0, counts={"emitted": items})
    exported = telemetry.flush()
    assert exported is not None
    return exported
