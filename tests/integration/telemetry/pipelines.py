"""Handlers for pipelines under trace; child workers import this, so it imports little."""

from __future__ import annotations

import sys
from collections.abc import Iterator


def double(job_id: str, data: int) -> int:
    """Work in a child."""
    if data == 3:
        raise ValueError("three is refused")
    return data * 2


def user_span(job_id: str, data: int) -> tuple[int, str, str]:
    """Tell what OpenTelemetry, loaded by the user's code, takes for the current span."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation import tracecontext

    assert tracecontext.__name__ in sys.modules
    context = trace.get_current_span().get_span_context()
    return data, f"{context.trace_id:032x}", f"{context.span_id:016x}"


def numbers(job_id: str, data: int) -> Iterator[int]:
    """Make one item many, in a child."""
    yield from range(data)
