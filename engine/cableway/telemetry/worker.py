"""
The span that a child worker makes around a unit, and how it comes home.

This module is loaded in processes, subinterpreters and dask workers: it imports next to nothing and
never OpenTelemetry. Where the user's code has loaded OpenTelemetry's API there, the unit's context
is attached, so that spans of that code hang under ours.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from cableway.telemetry.record import SpanRecord
    from cableway.telemetry.trail import TrailSpans

KEPT_AT_MOST = 4_096
"""Spans that wait in a worker for the way home; beyond it new ones are not kept."""

_current: ContextVar[Mapping[str, str] | None] = ContextVar("cableway_carrier", default=None)


def current_carrier() -> Mapping[str, str] | None:
    """``traceparent`` and ``tracestate`` of the unit that this code works for; None outside of one."""
    return _current.get()


class SpanHook:
    """A `WorkerHook`: one span around each unit whose item is drawn."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self._wall_ns = time.time_ns() - time.monotonic_ns()
        self._pid = os.getpid()

    def unit(self, carrier: Mapping[str, str], stage: str, bloc: str, job_id: str) -> AbstractContextManager[None]:
        """Make a span when the carrier says that its item is drawn; else only pass the context on."""
        return _Unit(self, carrier, job_id)

    def drain(self) -> list[Any]:
        """The spans made since the last call, each a tuple of plain values."""
        done, self.done = self.done, []
        return done

    def close(self) -> None:
        """Nothing is held that would have to be given back."""

    def keep(self, unit: _Unit, started_ns: int, error: BaseException | None) -> None:
        """Note a finished unit."""
        if len(self.done) < KEPT_AT_MOST:
            ended_ns = time.monotonic_ns()
            error_type = None if error is None else type(error).__qualname__
            self.done.append(
                (*unit.parent, unit.span_id, unit.job_id, started_ns, ended_ns, self._wall_ns, self._pid, error_type)
            )


class _Unit:
    __slots__ = ("_attached", "_carrier", "_hook", "_started_ns", "_token", "job_id", "parent", "span_id")

    def __init__(self, hook: SpanHook, carrier: Mapping[str, str], job_id: str) -> None:
        self._hook = hook
        self._carrier = carrier
        self.job_id = job_id

    def __enter__(self) -> None:
        _, trace_id, parent_id, flags = self._carrier["traceparent"].split("-")
        self.parent = (trace_id, parent_id)
        self.span_id = os.urandom(8).hex() if flags == "01" else ""
        mine = self._carrier
        if self.span_id:
            mine = {**mine, "traceparent": f"00-{trace_id}-{self.span_id}-01"}
        self._token: Token[Mapping[str, str] | None] = _current.set(mine)
        self._attached = _attach(mine)
        self._started_ns = time.monotonic_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.span_id:
            self._hook.keep(self, self._started_ns, error)
        _detach(self._attached)
        _current.reset(self._token)


def _attach(carrier: Mapping[str, str]) -> Any:
    """Make *carrier* OpenTelemetry's current context, where its API is loaded already."""
    api = sys.modules.get("opentelemetry.trace.propagation.tracecontext")
    context = sys.modules.get("opentelemetry.context")
    if api is None or context is None:
        return None
    try:
        return context.attach(api.TraceContextTextMapPropagator().extract(carrier))
    except Exception:
        # A library half loaded, or another version of it, is no reason to fail a unit.
        return None


def _detach(token: Any) -> None:
    if token is not None:
        sys.modules["opentelemetry.context"].detach(token)


def child_spans(report: Sequence[Any], spans: TrailSpans, stage: str, bloc: str) -> list[SpanRecord]:
    """What `SpanHook.drain` gave in a child, as spans; what is not of this trace is left out."""
    from cableway.telemetry import record

    made: list[SpanRecord] = []
    for trace_id, parent_id, span_id, job_id, started_ns, ended_ns, wall_ns, pid, error_type in report:
        if trace_id != spans.trace_id:
            continue
        # One machine has one monotonic clock; a child that is far off by it sits on another machine.
        here_ns = spans.clock.offset_ns
        offset_ns = here_ns if abs(wall_ns - here_ns) < 1_000_000_000 else wall_ns
        span = record.SpanRecord(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=parent_id,
            name=f"unit {bloc}",
            start_ns=started_ns + offset_ns,
            end_ns=ended_ns + offset_ns,
            attributes={
                record.SPAN_TYPE: "child",
                record.STAGE: stage,
                record.BLOC: bloc,
                record.ITEM_ID: record.text(job_id),
                record.PROCESS_PID: pid,
            },
            tracestate=spans.tracestate,
        )
        if error_type is not None:
            span.status = "error"
            span.attributes[record.ERROR_TYPE] = record.text(error_type)
        made.append(span)
    return made
