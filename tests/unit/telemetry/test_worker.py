from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation import tracecontext

from cableway.telemetry.worker import KEPT_AT_MOST, SpanHook, current_carrier
from tests import need

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
DRAWN = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b"}
NOT_DRAWN = {"traceparent": f"00-{TRACE}-{SPAN}-00"}


def test_a_drawn_unit_makes_one_span_of_plain_values() -> None:
    hook = SpanHook()
    with hook.unit(DRAWN, "clean", "bloc", "one"):
        carrier = current_carrier()
    assert current_carrier() is None
    ((trace_id, parent_id, span_id, job_id, started_ns, ended_ns, *_),) = hook.drain()
    assert (trace_id, parent_id, job_id) == (TRACE, SPAN, "one")
    assert started_ns <= ended_ns
    assert carrier == {"traceparent": f"00-{TRACE}-{span_id}-01", "tracestate": "a=b"}
    assert hook.drain() == []


def test_a_unit_that_is_not_drawn_only_passes_the_context_on() -> None:
    hook = SpanHook()
    with hook.unit(NOT_DRAWN, "clean", "bloc", "one"):
        assert current_carrier() == NOT_DRAWN
    assert hook.drain() == []


def test_what_nobody_takes_home_is_bounded() -> None:
    hook = SpanHook()
    for _ in range(KEPT_AT_MOST + 10):
        with hook.unit(DRAWN, "clean", "bloc", "one"):
            pass
    assert len(hook.drain()) == KEPT_AT_MOST


@pytest.mark.parametrize(("carrier", "sampled"), [(DRAWN, True), (NOT_DRAWN, False)])
def test_opentelemetry_goes_on_from_the_unit(carrier: dict[str, str], *, sampled: bool) -> None:
    assert tracecontext.__name__ in sys.modules
    hook = SpanHook()
    with hook.unit(carrier, "clean", "bloc", "one"):
        context = trace.get_current_span().get_span_context()
    assert f"{context.trace_id:032x}" == TRACE
    assert context.trace_flags.sampled is sampled
    if sampled:
        assert f"{context.span_id:016x}" == hook.drain()[0][2]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_child_loads_next_to_nothing_for_it() -> None:
    code = (
        "import sys; import cableway.telemetry.worker as worker; worker.SpanHook();"
        "print([name for name in ('opentelemetry', 'pydantic', 'asyncio', 'http', 'json') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_it_works_in_a_subinterpreter() -> None:
    need.python(3, 14)
    interpreters = need.module("concurrent.interpreters")
    interpreter = interpreters.create()
    try:
        interpreter.exec(
            "from cableway.telemetry.worker import SpanHook\n"
            "hook = SpanHook()\n"
            f"with hook.unit({DRAWN!r}, 's', 'b', 'j'): pass\n"
            "assert len(hook.drain()) == 1"
        )
    finally:
        interpreter.close()
