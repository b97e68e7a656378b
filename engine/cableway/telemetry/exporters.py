"""Puts the exporters together from the settings. Loaded only with an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cableway.telemetry.export import Build, SpanExporter
from cableway.telemetry.metrics_export import MetricsExporter, metrics_encoder
from cableway.telemetry.otlp import Encode, json_encoder, protobuf_encoder
from cableway.telemetry.resource import package_version, resource, sdk_resource
from cableway.telemetry.sender import EndpointError, Sender

if TYPE_CHECKING:
    from cableway.telemetry.metrics import RunMetrics
    from cableway.telemetry.settings import TelemetrySettings


def span_exporter(settings: TelemetrySettings, endpoint: str, who: Mapping[str, str], build: Build) -> SpanExporter:
    """What sends spans to *endpoint*. A wrong endpoint shows in what it drops, not in an error."""

    def connect() -> tuple[Sender, Encode]:
        sender = _sender(endpoint, settings, "OTEL_EXPORTER_OTLP_ENDPOINT")
        make = json_encoder if settings.protocol == "http/json" else protobuf_encoder
        return sender, make(resource(settings, who), package_version())

    return SpanExporter(
        connect,
        build,
        queue_spans=settings.queue_spans,
        batch_spans=settings.batch_spans,
        delay_s=settings.delay_s,
        wait_s=settings.flush_deadline_s if settings.on_full == "wait" else 0.0,
    )


def metrics_exporter(
    settings: TelemetrySettings, endpoint: str, who: Mapping[str, str], metrics: RunMetrics
) -> MetricsExporter:
    """What sends *metrics* to *endpoint*."""

    def connect() -> tuple[Sender, Callable[[RunMetrics], bytes]]:
        sender = _sender(endpoint, settings, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
        as_json = settings.protocol == "http/json"
        return sender, metrics_encoder(sdk_resource(settings, who), package_version(), as_json=as_json)

    return MetricsExporter(connect, metrics, settings.metrics_interval_s)


def _sender(endpoint: str, settings: TelemetrySettings, variable: str) -> Sender:
    try:
        return Sender(endpoint, settings)
    except EndpointError as error:
        # The URL may hold a password, so it is not repeated.
        raise EndpointError(f"{variable} cannot be used: {error}") from None
