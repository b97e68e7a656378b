"""
What a scheduler process counts: ticks, how late they were decided, schedulers that nobody can read, and its clock.

Counting costs a few additions. Where an OTLP endpoint is configured the sums are sent every minute, by the
OpenTelemetry SDK, which is loaded for that alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cableway.stored.ticks import DecidedTicks

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics.export import MetricReader

SKEW_S = 5.0
"""Seconds by which this machine's clock may differ from the database's without a word."""

LAG_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Upper ends of the buckets of lags."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")

log = logging.getLogger("cableway.scheduler")


class SchedulerMetrics:
    """One process's sums. Written by the loop, read by whoever exports them."""

    def __init__(self) -> None:
        self.ticks: Counter[str] = Counter()
        """By outcome: ``fired`` and ``not_run``."""
        self.lags: Counter[float] = Counter()
        """Fired ticks by the bucket of their lag: seconds from the tick to its decision."""
        self.faulty = 0
        """Schedulers of which nobody can say when they are due."""
        self.skew_s = 0.0
        """Seconds by which this machine's clock is ahead of the database's."""

    def decided(self, decided: DecidedTicks) -> None:
        """Count a decision."""
        self.ticks["fired"] += len(decided.fired)
        self.ticks["not_run"] += decided.not_run
        for each in decided.fired:
            if decided.now is not None:
                self.lags[_bucket((decided.now - each.tick).total_seconds())] += 1

    def lag_s(self, share: float) -> float:
        """The lag that this share of the fired ticks (0.99: all but one in a hundred) did not exceed, by its bucket."""
        wanted, seen = share * self.lags.total(), 0
        for bound in (*LAG_BOUNDS_S, float("inf")):
            seen += self.lags[bound]
            if seen >= wanted:
                return bound
        return 0.0


def exported(metrics: SchedulerMetrics, variables: Mapping[str, str]) -> Callable[[], None]:
    """Send *metrics* where *variables* say, if anywhere; return what ends that, with what there is until then."""
    is_off = variables.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or not any(variables.get(name) for name in _ENDPOINTS):
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = provide(metrics, reader)

    def end() -> None:
        try:
            provider.shutdown(timeout_millis=5_000)
        except Exception:  # telemetry never changes how a process ends
            log.warning("metrics could not be delivered at the end", exc_info=True)

    return end


def provide(metrics: SchedulerMetrics, reader: MetricReader) -> Any:
    """Let *reader* read *metrics*; the provider, to be shut down."""
    from opentelemetry.metrics import Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource

    provider = MeterProvider([reader], Resource.create({"service.name": "cableway-scheduler"}), shutdown_on_exit=False)
    meter = provider.get_meter("cableway")

    def observed(read: Callable[[], Iterable[tuple[float, dict[str, str]]]]) -> Any:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, attributes) for value, attributes in read()]

        return [callback]

    meter.create_observable_counter(
        "cableway.scheduler.ticks",
        observed(lambda: [(count, {"cableway.outcome": outcome}) for outcome, count in list(metrics.ticks.items())]),
        "{tick}",
        "Ticks that were decided, by outcome",
    )
    meter.create_observable_gauge(
        "cableway.scheduler.clock.skew",
        observed(lambda: [(metrics.skew_s, {})]),
        "s",
        "By how much this machine's clock is ahead of the database's",
    )
    meter.create_observable_gauge(
        "cableway.scheduler.faulty",
        observed(lambda: [(metrics.faulty, {})]),
        "{scheduler}",
        "Schedulers of which nobody can say when they are due",
    )
    meter.create_observable_gauge(
        "cableway.scheduler.lag",
        observed(lambda: [(metrics.lag_s(share), {"quantile": str(share)}) for share in (0.5, 0.99)]),
        "s",
        "From a tick to its decision",
    )
    return provider


def _bucket(lag_s: float) -> float:
    return next((bound for bound in LAG_BOUNDS_S if lag_s <= bound), float("inf"))
