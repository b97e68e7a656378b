"""
Tracing where OpenTelemetry's API is loaded: spans that the user's code makes hang under the unit's.

The flow tells that an item or a bloc begins in the very task whose context its handler runs in, or is
copied from, so what is attached there is what the handler sees, in the async lane and in threads.
Nothing is detached: a task's context ends with it, and the next item attaches its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, attach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from cableway.telemetry.tracing import TraceObserver

if TYPE_CHECKING:
    from cableway.items import WorkItem


class AttachingObserver(TraceObserver):
    """Traces, and makes each unit's span OpenTelemetry's current one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        header = self.spans.tracestate
        self._state = TraceState.from_header([header]) if header else None
        self._not_drawn = self._context(self.spans.parent_id, sampled=False)

    def item_started(self, item: WorkItem, stage: str, at_ns: int) -> None:
        """Note the reading, and attach the work's context."""
        super().item_started(item, stage, at_ns)
        self._attach(item, stage, "")

    def bloc_started(self, item: WorkItem, stage: str, bloc: str, at_ns: int) -> None:
        """Note when a bloc began, and attach its context."""
        super().bloc_started(item, stage, bloc, at_ns)
        self._attach(item, stage, bloc)

    def _attach(self, item: WorkItem, stage: str, bloc: str) -> None:
        if self.is_drawn(item):
            attach(self._context(self.unit_id(item, stage, bloc), sampled=True))
        else:
            attach(self._not_drawn)

    def _context(self, span_id: str, *, sampled: bool) -> Context:
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        trace_id = int(self.spans.trace_id, 16)
        context = SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=flags, trace_state=self._state)
        return set_span_in_context(NonRecordingSpan(context))
