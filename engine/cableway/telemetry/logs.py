"""Puts the run's and the trace's id on every log record of a run, under the names that OpenTelemetry gives them."""

from __future__ import annotations

import logging


class RunLogFilter(logging.Filter):
    """Lets everything through and adds ``run_id``, ``trace_id`` and ``span_id``, for a handler's formatter to use.

    Put it on handlers, not on loggers: a logger's filter does not see what its children log.
    """

    def __init__(self, run_id: str, trace_id: str, span_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.trace_id = trace_id
        self.span_id = span_id

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids, unless whoever logged gave ids of their own."""
        for name in ("run_id", "trace_id", "span_id"):
            if not hasattr(record, name):
                setattr(record, name, getattr(self, name))
        return True
