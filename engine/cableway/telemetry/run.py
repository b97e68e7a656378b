"""
All of a run's telemetry behind one door: what the job makes, asks for observers, ends and flushes.

Nothing here raises for telemetry's own trouble, and without an endpoint nothing of OpenTelemetry or
of an HTTP client is imported.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cableway.telemetry import record
from cableway.telemetry.local import LocalSpans
from cableway.telemetry.propagation import IdPool, Remote, new_trace_id, parse_remote
from cableway.telemetry.record import Attributes, SpanRecord, bounded, text
from cableway.telemetry.sampling import threshold_of
from cableway.telemetry.tracing import TraceObserver
from cableway.telemetry.trail import TrailSpans

if TYPE_CHECKING:
    from cableway.context import RunFacts
    from cableway.flow.observer import Observer
    from cableway.items import WorkItem
    from cableway.store.port import RunState, SpanRow, StageRecord
    from cableway.telemetry.export import Exported, SpanExporter
    from cableway.telemetry.metrics import RunMetrics
    from cableway.telemetry.metrics_export import MetricsExporter
    from cableway.telemetry.settings import TelemetrySettings

log = logging.getLogger("cableway.telemetry")


class RunTelemetry:
    """The telemetry of one attempt at a run.

    Give `observers` to the flow; when it is over call `end` with the outcome and keep the rows that it
    returns; call `flush` last. *started_ns* is the `time.monotonic_ns` reading at which the attempt
    began, *trace_id* the one to use where there is no valid *traceparent*. *redact* takes secrets out
    of errors' texts.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        facts: RunFacts,
        *,
        traceparent: str | None = None,
        tracestate: str | None = None,
        trace_id: str | None = None,
        started_ns: int | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._redact = redact
        self._started_ns = time.monotonic_ns() if started_ns is None else started_ns
        self._remote = parse_remote(traceparent, tracestate)
        self._ended: SpanRecord | None = None
        self._spans = self._trail_spans(self._remote, trace_id)
        self._local = LocalSpans(threshold_of(settings.sample_ratio)) if settings.local_spans else None
        self._metrics: RunMetrics | None = None
        self._exporter: SpanExporter | None = None
        self._metrics_exporter: MetricsExporter | None = None
        for warning in settings.warnings:
            log.warning("%s", warning)
        if settings.exports:
            self._start_exporters()
        self._observer = self._made_observer()

    @property
    def trace_id(self) -> str:
        """The run's trace id, 32 hex digits."""
        return self._spans.trace_id

    @property
    def span_id(self) -> str:
        """The id of the run's own span."""
        return self._spans.parent_id

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who listens to the flow; nobody where nothing is kept or sent."""
        return () if self._observer is None else (self._observer,)

    def span_context(self, item: WorkItem) -> tuple[str, str] | None:
        """Trace id and span id of *item*, for a dead letter; its span is kept. None where no spans are made."""
        if self._observer is None or not self._settings.records:
            return None
        return self._observer.span_context(item)

    def end(
        self,
        state: RunState,
        exit_code: int,
        *,
        counts: Mapping[str, int] | None = None,
        problem: Mapping[str, object] | None = None,
        stages: Sequence[StageRecord] = (),
    ) -> list[SpanRow]:
        """End the run's span with its outcome. Return the spans to keep with the run, none where that is off."""
        ended = self._ended = self._root(state, exit_code, counts or {}, problem)
        if self._metrics is not None:
            self._metrics.records = stages
        if self._local is None or self._observer is None:
            return []
        kept = self._local.spans(ended, self._observer.slowest(), self._spans.of)
        return [span.row() for span in kept]

    def flush(self, within_s: float | None = None) -> Exported | None:
        """Send what is left, within the deadline, or *within_s* seconds where that is sooner.

        Return what became of the spans; None where none are sent.
        """
        deadline_s = min(self._settings.flush_deadline_s, math.inf if within_s is None else within_s)
        deadline = time.monotonic() + deadline_s
        if self._metrics_exporter is not None:
            self._metrics_exporter.hurry(deadline)
        exported = None
        if self._exporter is not None:
            exported = self._exporter.close(self._ended, deadline - time.monotonic())
        if self._metrics_exporter is not None:
            self._metrics_exporter.join()
        return exported

    def _trail_spans(self, remote: Remote | None, trace_id: str | None) -> TrailSpans:
        own = IdPool().span_id()
        if remote is not None:
            return TrailSpans(remote.trace_id, own, remote.tracestate)
        return TrailSpans(trace_id or new_trace_id(), own)

    def _made_observer(self) -> TraceObserver | None:
        if not (self._settings.records or self._settings.exports):
            return None
        records = self._exporter is not None or self._local is not None
        return self._observer_type()(
            self._spans,
            threshold=threshold_of(self._settings.sample_ratio) if records else 0,
            offer=self._exporter.offer if self._exporter is not None else None,
            local=self._local,
            metrics=self._metrics,
            redact=self._redact,
        )

    def _observer_type(self) -> type[TraceObserver]:
        """With an endpoint, or where the user's code has loaded it, OpenTelemetry's context follows the items."""
        if self._exporter is None and "opentelemetry.trace" not in sys.modules:
            return TraceObserver
        try:
            from cableway.telemetry.attach import AttachingObserver
        except ImportError:
            return TraceObserver
        return AttachingObserver

    def _start_exporters(self) -> None:
        from cableway.telemetry.exporters import metrics_exporter, span_exporter
        from cableway.telemetry.metrics import RunMetrics

        who = {record.RUN_ID: self._facts.run_id, record.PIPELINE: self._facts.pipeline}
        if self._settings.traces_endpoint is not None:
            self._exporter = span_exporter(self._settings, self._settings.traces_endpoint, who, self._spans.of)
        if self._settings.metrics_endpoint is not None:
            self._metrics = RunMetrics()
            self._metrics_exporter = metrics_exporter(
                self._settings, self._settings.metrics_endpoint, who, self._metrics
            )

    def _root(
        self, state: RunState, exit_code: int, counts: Mapping[str, int], problem: Mapping[str, object] | None
    ) -> SpanRecord:
        ended = SpanRecord(
            trace_id=self._spans.trace_id,
            span_id=self._spans.parent_id,
            parent_id=self._remote.span_id if self._remote is not None else None,
            name=f"run {text(self._facts.pipeline, 200)}",
            start_ns=self._spans.clock.unix_ns(self._started_ns),
            end_ns=self._spans.clock.unix_ns(time.monotonic_ns()),
            attributes=self._about(state, exit_code, counts),
            kind="internal" if self._remote is None else "consumer",
            status="error" if problem else "unset",
            events=self._observer.events if self._observer is not None else (),
            tracestate=self._spans.tracestate,
            remote_parent=self._remote is not None,
        )
        if problem:
            ended.attributes[record.ERROR_TYPE] = text(str(problem.get("type", "")).rpartition(":")[2] or "_OTHER")
            ended.message = text(self._redact(str(problem.get("detail", ""))))
        return ended

    def _about(self, state: RunState, exit_code: int, counts: Mapping[str, int]) -> Attributes:
        facts = self._facts
        wanted: dict[str, Any] = {
            record.SPAN_TYPE: "run",
            record.RUN_ID: facts.run_id,
            record.PIPELINE: facts.pipeline,
            record.VERSION: facts.version,
            record.ATTEMPT: facts.attempt,
            record.STATE: str(state),
            record.EXIT_CODE: exit_code,
            "cableway.scheduler.name": facts.scheduler_name,
            "cableway.trigger.name": facts.trigger_name,
            "cableway.run.scheduled_at": facts.scheduled_at,
            **{f"cableway.items.{name}": count for name, count in counts.items()},
        }
        found = {key: bounded(value) for key, value in wanted.items()}
        return {key: value for key, value in found.items() if value is not None}
