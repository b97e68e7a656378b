"""
A run's metrics on their way out: every interval and once at the end, within the deadline of a flush.

The sums become OpenTelemetry's own data points and are encoded by its encoder; they are posted by
our sender, because the SDK's exporter does not keep to a deadline. Loaded only with an endpoint.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cableway.telemetry.metrics import BOUNDS_S, Durations, RunMetrics
from cableway.telemetry.otlp import SCOPE
from cableway.telemetry.record import BLOC, ERROR_TYPE, LANE, OUTCOME, PIPELINE, STAGE
from cableway.telemetry.sender import Sender

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric

log = logging.getLogger("cableway.telemetry")

Connect = Callable[[], tuple[Sender, Callable[[RunMetrics], bytes]]]
Attributes = dict[str, str]


class MetricsExporter:
    """Sends a run's metrics in the background. Never raises, and never outlives its deadline by more than a join."""

    def __init__(self, connect: Connect, metrics: RunMetrics, interval_s: float) -> None:
        self._connect = connect
        self._metrics = metrics
        self._interval_s = interval_s
        self._ending = threading.Event()
        self._deadline = 0.0
        self._sender: Sender | None = None
        self._thread = threading.Thread(target=self._run, name="cableway-metrics", daemon=True)
        self._thread.start()

    def hurry(self, deadline: float) -> None:
        """Send what there is now for the last time, before *deadline*, a reading of `time.monotonic`."""
        self._deadline = deadline
        self._ending.set()
        if self._sender is not None:
            self._sender.hurry(deadline)

    def join(self) -> None:
        """Wait until the last request is through, or until the deadline."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._thread.is_alive() and self._sender is not None:
            self._sender.stop()

    def _run(self) -> None:
        try:
            sender, encode = self._connect()
        except Exception as error:
            log.warning("metrics are not exported: %s", error)
            return
        self._sender = sender
        while True:
            ending = self._ending.wait(self._interval_s)
            if ending:
                sender.hurry(self._deadline)
            try:
                delivery = sender.post(encode(self._metrics))
            except Exception:
                log.debug("metrics could not be encoded", exc_info=True)
            else:
                if not delivery.delivered:
                    log.warning("metrics were not delivered: %s", delivery.reason)
            if ending:
                sender.close()
                return


def metrics_encoder(resource: Any, version: str, *, as_json: bool) -> Callable[[RunMetrics], bytes]:
    """What turns a run's sums into an ``ExportMetricsServiceRequest``; *resource* is the SDK's."""
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    def encode(metrics: RunMetrics) -> bytes:
        scope = ScopeMetrics(InstrumentationScope(SCOPE, version), _Points(metrics).metrics(), "")
        request: Any = encode_metrics(MetricsData([ResourceMetrics(resource, [scope], resource.schema_url)]))
        if not as_json:
            return bytes(request.SerializeToString())
        from google.protobuf.json_format import MessageToJson

        return str(MessageToJson(request, use_integers_for_enums=True, indent=None)).encode()

    return encode


class _Points:
    """The metrics of a run at one moment."""

    def __init__(self, metrics: RunMetrics) -> None:
        self._metrics = metrics
        self._now_ns = time.time_ns()

    def metrics(self) -> list[Metric]:
        """All metrics that have anything to say."""
        run = self._metrics
        outcomes = [(self._of({OUTCOME: str(outcome)}), count) for outcome, count in list(run.outcomes.items())]
        retries = [(self._unit(*unit), count) for unit, count in list(run.retries.items())]
        failures = [
            (self._unit(stage, bloc) | {ERROR_TYPE: code}, count)
            for (stage, bloc, code), count in list(run.failures.items())
        ]
        rows = [(self._unit(each.stage, each.bloc or ""), each.rows) for each in run.records]
        blocked = [(self._unit(each.stage, ""), each.blocked_s) for each in run.records if each.bloc is None]
        depths = run.depths()
        waiting = [(self._unit(stage, ""), counts[0]) for stage, counts in depths.items()]
        in_work = [(self._unit(stage, ""), counts[1]) for stage, counts in depths.items()]
        found = [
            self._sum("cableway.items", "{item}", "Items that have ended, by outcome", outcomes),
            self._sum("cableway.unit.failures", "{unit}", "Units that failed for good", failures),
            self._sum("cableway.unit.retries", "{attempt}", "Attempts that were made again", retries),
            self._sum("cableway.rows", "{row}", "Rows that passed", rows),
            self._sum("cableway.stage.blocked", "s", "Time that workers waited for room in the next stage", blocked),
            self._gauge("cableway.stage.queue.depth", "Items that wait before a stage", waiting),
            self._gauge("cableway.stage.in_flight", "Items in work", in_work),
            self._histogram("cableway.item.wait.duration", "Time that an item waited before a stage", run.waits),
            self._histogram("cableway.item.work.duration", "Time that a stage worked on an item", run.works),
        ]
        return [metric for metric in found if metric.data.data_points]

    def _of(self, attributes: Attributes) -> Attributes:
        return {PIPELINE: self._metrics.pipeline, **attributes}

    def _unit(self, stage: str, bloc: str) -> Attributes:
        attributes = self._of({STAGE: stage})
        return attributes | {BLOC: bloc} if bloc else attributes

    def _sum(self, name: str, unit: str, what: str, points: Sequence[tuple[Attributes, float]]) -> Metric:
        from opentelemetry.sdk.metrics.export import AggregationTemporality, Metric, Sum

        data = Sum(self._numbers(points), AggregationTemporality.CUMULATIVE, is_monotonic=True)
        return Metric(name, what, unit, data)

    def _gauge(self, name: str, what: str, points: Sequence[tuple[Attributes, float]]) -> Metric:
        from opentelemetry.sdk.metrics.export import Gauge, Metric

        return Metric(name, what, "{item}", Gauge(self._numbers(points)))

    def _numbers(self, points: Sequence[tuple[Attributes, float]]) -> list[Any]:
        from opentelemetry.sdk.metrics.export import NumberDataPoint

        started_ns = self._metrics.started_ns
        return [NumberDataPoint(attributes, started_ns, self._now_ns, value) for attributes, value in points]

    def _histogram(self, name: str, what: str, all_durations: Sequence[Durations]) -> Metric:
        from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, HistogramDataPoint, Metric

        run = self._metrics
        points: list[HistogramDataPoint] = []
        for stage, lane, durations in zip(run.stages, run.lanes, all_durations, strict=False):
            buckets = list(durations.buckets)
            if not any(buckets):
                continue
            attributes: Mapping[str, str] = self._unit(stage, "") | {LANE: lane}
            points.append(
                HistogramDataPoint(
                    attributes=attributes,
                    start_time_unix_nano=run.started_ns,
                    time_unix_nano=self._now_ns,
                    count=sum(buckets),
                    sum=durations.sum_ns / 1e9,
                    bucket_counts=buckets,
                    explicit_bounds=BOUNDS_S,
                    min=durations.min_ns / 1e9,
                    max=durations.max_ns / 1e9,
                )
            )
        return Metric(name, what, "s", Histogram(points, AggregationTemporality.CUMULATIVE))
