from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from cableway.context import RunFacts
from cableway.items import WorkItem
from cableway.store.port import RunState, SpanRow, StageRecord
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings
from cableway.telemetry.summary import summary
from cableway.telemetry.waterfall import seconds, waterfall
from tests.fixtures.hand_flow import HandFlow


def rows(items: int = 3, name: str = "item-{}") -> list[SpanRow]:
    telemetry = RunTelemetry(TelemetrySettings(), RunFacts(run_id="r", pipeline="flights"))
    flow = HandFlow(telemetry.observers)
    for number in range(items):
        item = WorkItem(number, job_id=name.format(number))
        if number == 1:
            flow.pass_stage(item, "load")
            flow.queue(item, "clean")
            flow.wait(3)
            flow.start(item, "clean")
            flow.wait(7)
            flow.fail(item, "clean", ValueError("bad"))
        else:
            flow.pass_all(item, work=number + 1)
    flow.stop()
    return telemetry.end(RunState.FAILED, 3)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_line_fits_and_names_what_happened(width: int) -> None:
    lines = str(waterfall(rows(), width=width)).splitlines()
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for word in ("run flights", "item item-0", "├ load · thread", "├ clean · process", "└ store · async", "ValueError"):
        assert word in text


def test_the_wait_is_drawn_before_the_work() -> None:
    text = str(waterfall(rows(), width=120))
    (line,) = [line for line in text.splitlines() if "└ clean" in line]
    assert "3.0 ms  7.0 ms" in line
    assert line.index("░") < line.index("█")


def test_only_some_items_are_shown_and_the_failed_one_always() -> None:
    text = str(waterfall(rows(30), items=3))
    assert text.count("\nitem ") == 3
    assert "item item-1 " in text
    assert "item item-29" in text
    assert "27 more items kept, not shown" in text


def test_names_from_outside_cannot_move_the_cursor() -> None:
    text = str(waterfall(rows(2, name="\x1b[2Jevil\n[red]航空{}"), width=80))
    assert "\x1b" not in text
    assert "[red]" in text
    assert max(map(cell_len, text.splitlines())) <= 80


def test_no_spans_are_no_error() -> None:
    assert "No spans" in str(waterfall([]))


def test_colour_is_for_terminals_alone() -> None:
    plain, colour = io.StringIO(), io.StringIO()
    drawing = waterfall(rows())
    Console(file=plain, width=100).print(drawing)
    Console(file=colour, width=100, force_terminal=True, color_system="standard", no_color=False).print(drawing)
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in colour.getvalue()


def test_durations_are_short() -> None:
    told = [seconds(ns) for ns in (0, 850_000, 1_500_000, 12_000_000, 1_250_000_000, 185_000_000_000)]
    assert told == ["0 µs", "850 µs", "1.5 ms", "12 ms", "1.25 s", "3m05s"]


def record(stage: str, *, bloc: str | None = None, failed: int = 0) -> StageRecord:
    return StageRecord(
        stage=stage,
        bloc=bloc,
        lane="thread",
        items=1234,
        rows=27_004,
        failed=failed,
        skipped=0,
        retries=0,
        work_s=1.25,
        wait_s=0.5,
        blocked_s=0,
        workers=2,
    )


def test_the_summary_says_how_it_went_and_what_each_stage_did() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(
        summary(
            "flights",
            RunState.COMPLETED_WITH_ERRORS,
            counts={"emitted": 1240, "succeeded": 1239, "failed": 1, "lost": 0},
            stages=[record("load"), record("load", bloc="weather"), record("store", failed=1)],
            wall_s=2.5,
            trace_id="abc",
        )
    )
    text = out.getvalue()
    assert "flights completed with errors in 2.50 s: 1,240 items, 1,239 succeeded, 1 failed" in text
    assert "lost" not in text
    header = text.splitlines()[1]
    assert header.split() == ["stage", "lane", "workers", "items", "rows", "time", "wait", "failed"]
    assert "27,004" in text
    assert "  weather" in text
    assert "trace abc" in text


def test_where_all_came_together_is_shown() -> None:
    telemetry = RunTelemetry(TelemetrySettings(), RunFacts(run_id="r", pipeline="flights"))
    flow = HandFlow(telemetry.observers)
    members = [flow.pass_all(WorkItem(number, job_id=f"item-{number}"), work=9) for number in range(20)]
    gather = WorkItem(None, job_id="gather")
    for member in members:
        telemetry.observers[0].item_derived([member], [gather], "store", "gather")
    flow.pass_stage(gather, "store", work=1)
    flow.end(gather)
    flow.stop()
    text = str(waterfall(telemetry.end(RunState.SUCCEEDED, 0), items=3))
    assert "item gather (from 20 items)" in text


def test_a_stage_that_was_never_begun_has_no_time() -> None:
    telemetry = RunTelemetry(TelemetrySettings(), RunFacts(run_id="r", pipeline="flights"))
    flow = HandFlow(telemetry.observers)
    item = WorkItem(1)
    flow.queue(item, "load")
    flow.wait(30)
    flow.end(item)
    flow.stop()
    (line,) = [each for each in str(waterfall(telemetry.end(RunState.CANCELLED, 3))).splitlines() if "└ load" in each]
    assert line.split()[:4] == ["└", "load", "30", "ms"]
    assert "█" not in line
