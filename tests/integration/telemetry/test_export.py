"""A run's telemetry against a real receiver, well behaved and not."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest

from cableway.items import WorkItem
from cableway.store.port import RunState
from cableway.telemetry import record
from cableway.telemetry.export import Exported
from cableway.telemetry.run import RunTelemetry
from tests.fixtures.collector import Collector, Reply
from tests.fixtures.hand_flow import HandFlow
from tests.integration.telemetry.bare import FACTS, settings, work

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# Over the deadline a busy machine may need some seconds for what is not telemetry's.
GRACE_S = 4.0


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_whole_trace_arrives(collector: Collector, protocol: str, compression: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
    telemetry = RunTelemetry(
        settings(
            collector.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-api-key=secret",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            OTEL_SERVICE_NAME="etl",
            **environ,
        ),
        FACTS,
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-00",
        tracestate="a=b",
    )
    exported = work(telemetry)
    assert exported == Exported(made=121, sent=121, dropped=0)
    spans = {span.span_id: span for span in collector.spans}
    assert len(spans) == len(collector.spans) == 121
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    (root,) = [span for span in collector.spans if span.name == "run flights"]
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert root.flags & 0x200
    assert all(span.parent_span_id in spans for span in collector.spans if span is not root)
    kinds = [_texts(span)[record.SPAN_TYPE] for span in collector.spans]
    assert {kind: kinds.count(kind) for kind in kinds} == {"run": 1, "item": 20, "wait": 40, "work": 40, "child": 20}
    (child, *_) = [span for span in collector.spans if span.name == "unit clean"]
    assert spans[child.parent_span_id].name == "work clean"
    about = _texts(collector.resources[0])
    assert (about["service.name"], about["deployment.environment.name"]) == ("etl", "test")
    assert about["cableway.run.id"] == "r1"
    assert {"host.name", "service.version", "telemetry.sdk.name"} <= about.keys()
    assert {headers["x-api-key"] for _, headers in collector.requests} == {"secret"}


def _texts(message: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in message.attributes}


def test_the_local_copy_is_of_the_same_spans(collector: Collector) -> None:
    telemetry = RunTelemetry(settings(collector.url), FACTS)
    flow = HandFlow(telemetry.observers)
    flow.pass_all(WorkItem(1))
    flow.stop()
    rows = telemetry.end(RunState.SUCCEEDED, 0)
    telemetry.flush()
    assert {(row.span_id, row.name, row.start_ns) for row in rows} == {
        (span.span_id.hex(), span.name, span.start_time_unix_nano) for span in collector.spans
    }


def test_only_the_share_and_the_failed_and_the_slowest_are_sent(collector: Collector) -> None:
    telemetry = RunTelemetry(settings(collector.url, OTEL_TRACES_SAMPLER_ARG="0.1"), FACTS)
    flow = HandFlow(telemetry.observers)
    for number in range(2_000):
        item = WorkItem(number, job_id=str(number))
        flow.pass_stage(item, "load", work=100 if number == 1000 else 1)
        if number == 1234:
            flow.fail(item, "load", ValueError("x"))
        else:
            flow.end(item)
    flow.stop()
    telemetry.end(RunState.SUCCEEDED, 0)
    telemetry.flush()
    items = {_texts(span)[record.ITEM_ID] for span in collector.spans if span.name == "item"}
    assert {"1000", "1234"} <= items
    assert 100 < len(items) < 400


@pytest.mark.promise("P20")
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (503, {}),
        (429, {"Retry-After": "0.1"}),
        (503, {"Retry-After": formatdate(0, usegmt=True)}),
        (502, {}),
        (504, {}),
    ],
)
def test_what_may_pass_is_tried_again(collector: Collector, status: int, headers: dict[str, str]) -> None:
    collector.replies = [Reply(status, headers), Reply(status, headers)]
    exported = work(RunTelemetry(settings(collector.url), FACTS))
    assert exported.dropped == 0
    assert len(collector.spans) == exported.made


@pytest.mark.promise("P20")
@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 301])
def test_what_will_not_pass_is_dropped_and_counted(
    collector: Collector, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    collector.always = Reply(status)
    exported = work(RunTelemetry(settings(collector.url), FACTS))
    assert len(collector.requests) == 1, "it is not sent again"
    assert (exported.sent, exported.dropped, exported.reason) == (0, exported.made, f"HTTP {status}")
    assert f"{exported.made} of {exported.made} spans were not delivered: HTTP {status}" in caplog.text


def test_a_partial_success_is_counted(collector: Collector) -> None:
    collector.replies = [Reply(rejected=5)]
    exported = work(RunTelemetry(settings(collector.url), FACTS))
    assert exported.dropped == 5 == exported.made - len(collector.spans)


def test_a_reply_that_makes_no_sense_is_still_a_success(collector: Collector) -> None:
    collector.always = Reply(body=b"<html>" + b"x" * 100_000)
    exported = work(RunTelemetry(settings(collector.url), FACTS))
    assert exported.dropped == 0


def deaf() -> Generator[str]:
    """A port that takes connections and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def refused() -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


def not_tls() -> Generator[str]:
    found = Collector()
    yield found.url.replace("http:", "https:")
    found.close()


def hanging() -> Generator[str]:
    found = Collector()
    found.always = Reply(hang=True)
    yield found.url
    found.close()


def always_503() -> Generator[str]:
    found = Collector()
    found.always = Reply(503, {"Retry-After": "0.2"})
    yield found.url
    found.close()


def for_ever_503() -> Generator[str]:
    found = Collector()
    found.always = Reply(503, {"Retry-After": "1000000000"})
    yield found.url
    found.close()


def only(url: str) -> Generator[str]:
    yield url


BAD = {
    "hanging": hanging,
    "deaf": deaf,
    "refused": refused,
    "not TLS": not_tls,
    "always 503": always_503,
    "503 for ever": for_ever_503,
    "bad DNS": lambda: only("http://collector.invalid:4318"),
    "no URL": lambda: only("collector:4318"),
    "no port": lambda: only("http://127.0.0.1:99999"),
    "a header that cannot be sent": lambda: only("http://user:canary-secret@127.0.0.1:1"),
    "spaces": lambda: only("http://127.0.0.1:4318/a b\r\nX: y"),
    "unroutable": lambda: only("http://192.0.2.1:4318"),
}


@pytest.mark.promise("P20")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_collector_costs_at_most_the_deadline(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with contextmanager(BAD[name])() as url, caplog.at_level(logging.WARNING):
        telemetry = RunTelemetry(
            settings(
                url,
                CABLEWAY_TELEMETRY_FLUSH_S="1",
                OTEL_METRICS_EXPORTER="otlp",
                OTEL_EXPORTER_OTLP_HEADERS="api-key=canary-secret",
            ),
            FACTS,
        )
        began = time.monotonic()
        exported = work(telemetry)
        took_s = time.monotonic() - began
    assert took_s < 1 + GRACE_S
    assert (exported.sent, exported.dropped) == (0, exported.made)
    assert exported.reason
    assert "spans were not delivered" in caplog.text
    assert "canary-secret" not in caplog.text


SCRIPT = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
from tests.integration.telemetry.bare import FACTS, RunTelemetry, settings, work
telemetry = RunTelemetry(settings(sys.argv[1], CABLEWAY_TELEMETRY_FLUSH_S="1", OTEL_METRICS_EXPORTER="otlp"), FACTS)
print(work(telemetry, 5).dropped)
"""


@pytest.mark.promise("P20")
def test_a_hanging_collector_does_not_hold_the_process(collector: Collector) -> None:
    collector.always = Reply(hang=True)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, collector.url], capture_output=True, text=True, timeout=30, check=True
    )
    assert int(done.stdout) == 31
    # Most of it is the start of Python and the tests' own imports.
    assert time.monotonic() - began < 15


def test_without_opentelemetry_spans_are_sent_all_the_same(collector: Collector) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, collector.url, "opentelemetry"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (int(done.stdout), len(collector.spans)) == (0, 31)
    assert _texts(collector.resources[0])["service.name"] == "cableway"
    assert collector.metrics == {}


@pytest.mark.chaos
def test_a_million_spans_against_a_slow_collector_add_up(collector: Collector) -> None:
    collector.delay_s = 0.5
    exported = work(RunTelemetry(settings(collector.url), FACTS), items=1_000_000 // 6)
    assert exported.made == 1_000_000 // 6 * 6 + 1
    assert exported.dropped == exported.made - len(collector.spans) > 0


def test_nothing_arrives_after_it_was_counted_as_lost(collector: Collector) -> None:
    collector.replies = [Reply(503, {"Retry-After": "0.3"})]
    telemetry = RunTelemetry(settings(collector.url, CABLEWAY_TELEMETRY_FLUSH_S="0.1"), FACTS)
    exported = work(telemetry)
    for thread in threading.enumerate():
        if thread.name == "cableway-spans":
            thread.join(5)
            assert not thread.is_alive()
    assert (exported.sent, collector.spans) == (0, [])


@pytest.mark.parametrize("on_full", ["drop", "wait"])
def test_what_does_not_fit_is_dropped_and_counted_or_waited_for(collector: Collector, on_full: str) -> None:
    telemetry = RunTelemetry(
        settings(
            collector.url,
            OTEL_BSP_MAX_QUEUE_SIZE="50",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="25",
            CABLEWAY_TELEMETRY_ON_FULL=on_full,
        ),
        FACTS,
    )
    exported = work(telemetry, items=400)
    assert exported.made == 400 * 6 + 1
    assert exported.dropped == exported.made - len(collector.spans)
    if on_full == "wait":
        assert exported.dropped == 0
    else:
        assert exported.dropped > 0
        assert exported.reason == "queue full"


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_metrics_arrive(collector: Collector, protocol: str) -> None:
    environ = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    telemetry = RunTelemetry(settings(collector.url, **environ), FACTS)
    flow = HandFlow(telemetry.observers)
    for number in range(10):
        flow.pass_all(WorkItem(number))
    item = WorkItem(1)
    flow.queue(item, "load")
    telemetry.observers[0].item_retried(item, "load", "load", OSError("x"), 1, 0.1)
    flow.fail(item, "load", ValueError("x"))
    telemetry.end(RunState.FAILED, 3)
    telemetry.flush()
    metrics = collector.metrics
    ended = {_texts(point)[record.OUTCOME]: point.as_int for point in metrics["cableway.items"].sum.data_points}
    assert ended == {"succeeded": 10, "failed": 1}
    assert metrics["cableway.items"].sum.is_monotonic
    works = {_texts(each)[record.STAGE]: each for each in metrics["cableway.item.work.duration"].histogram.data_points}
    assert works.keys() == {"load", "clean", "store"}
    assert (works["clean"].count, sum(works["clean"].bucket_counts)) == (10, 10)
    assert works["clean"].sum == pytest.approx(0.02)
    assert len(works["clean"].bucket_counts) == len(works["clean"].explicit_bounds) + 1
    assert metrics["cableway.unit.retries"].sum.data_points[0].as_int == 1
    assert _texts(metrics["cableway.unit.failures"].sum.data_points[0])["error.type"] == "ValueError"
    assert "cableway.stage.queue.depth" in metrics
