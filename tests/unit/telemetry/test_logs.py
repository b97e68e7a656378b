from __future__ import annotations

import io
import logging

from cableway.telemetry.logs import RunLogFilter


def test_every_line_carries_the_run_and_the_trace() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RunLogFilter("run-1", "trace-1", "span-1"))
    handler.setFormatter(logging.Formatter("%(run_id)s %(trace_id)s %(span_id)s %(message)s"))
    log = logging.getLogger("cableway.test.logs")
    log.propagate = False
    log.addHandler(handler)
    log.warning("one")
    log.warning("two", extra={"span_id": "mine"})
    assert out.getvalue() == "run-1 trace-1 span-1 one\nrun-1 trace-1 mine two\n"
