"""How a run went, for a person: its state, its counts, and what each stage did. Needs rich; a job does not load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cableway.store.port import RunState, StageRecord
from cableway.telemetry.waterfall import printable, seconds

_GOOD = frozenset({RunState.SUCCEEDED})
_MIXED = frozenset({RunState.COMPLETED_WITH_ERRORS, RunState.INTERRUPTED, RunState.CANCELLED})


def summary(
    pipeline: str,
    state: RunState,
    *,
    counts: Mapping[str, int],
    stages: Sequence[StageRecord],
    wall_s: float,
    trace_id: str | None = None,
    problem: Mapping[str, object] | None = None,
) -> Group:
    """The summary of one run, to be printed with rich. *wall_s* is how long the run took in all."""
    parts = [_headline(pipeline, state, counts, wall_s)]
    if problem:
        parts.append(Text(printable(str(problem.get("detail") or problem.get("title") or "")), style="red"))
    lines: list[Text | Table] = [*parts]
    if stages:
        lines.append(stage_table(stages))
    if trace_id:
        lines.append(Text(f"trace {trace_id}", style="dim"))
    return Group(*lines)


def _headline(pipeline: str, state: RunState, counts: Mapping[str, int], wall_s: float) -> Text:
    style = "green" if state in _GOOD else "yellow" if state in _MIXED else "red"
    line = Text()
    line.append(printable(pipeline), style="bold")
    line.append(" ")
    line.append(str(state).replace("_", " "), style=f"bold {style}")
    line.append(f" in {seconds(round(wall_s * 1e9))}")
    emitted = counts.get("emitted", 0)
    told = [f"{number(emitted)} item{'' if emitted == 1 else 's'}"]
    told += [f"{number(count)} {name}" for name, count in counts.items() if count and name != "emitted"]
    line.append(f": {', '.join(told)}", style="")
    return line


def stage_table(stages: Sequence[StageRecord]) -> Table:
    """What each stage did; the blocs of a stage that has several stand below it.

    Time and wait are sums over items, so with several workers they may exceed the run's own time.
    A column that has nothing to say is left out.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    shown = [column for column in _COLUMNS if column[0] in _ALWAYS or any(column[1](stage) for stage in stages)]
    table.add_column("stage", no_wrap=True)
    for name, _, right in shown:
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for stage in stages:
        name = printable(stage.stage) if stage.bloc is None else f"  {printable(stage.bloc)}"
        style = "red" if stage.failed else "" if stage.bloc is None else "dim"
        table.add_row(Text(name, style=style), *[Text(tell(stage), style=style) for _, tell, _ in shown])
    return table


def _lane(stage: StageRecord) -> str:
    return stage.lane


def _workers(stage: StageRecord) -> str:
    return number(stage.workers) if stage.bloc is None else ""


def _items(stage: StageRecord) -> str:
    return number(stage.items)


def _rows(stage: StageRecord) -> str:
    return number(stage.rows) if stage.rows else ""


def _time(stage: StageRecord) -> str:
    return seconds(round(stage.work_s * 1e9))


def _wait(stage: StageRecord) -> str:
    return seconds(round(stage.wait_s * 1e9)) if stage.bloc is None else ""


def _blocked(stage: StageRecord) -> str:
    return seconds(round(stage.blocked_s * 1e9)) if stage.blocked_s >= 0.001 else ""


def _failed(stage: StageRecord) -> str:
    return number(stage.failed) if stage.failed else ""


def _skipped(stage: StageRecord) -> str:
    return number(stage.skipped) if stage.skipped else ""


def _retries(stage: StageRecord) -> str:
    return number(stage.retries) if stage.retries else ""


_COLUMNS = (
    ("lane", _lane, False),
    ("workers", _workers, True),
    ("items", _items, True),
    ("rows", _rows, True),
    ("time", _time, True),
    ("wait", _wait, True),
    ("blocked", _blocked, True),
    ("failed", _failed, True),
    ("skipped", _skipped, True),
    ("retries", _retries, True),
)
_ALWAYS = frozenset({"lane", "workers", "items", "rows", "time", "wait"})


def number(value: int) -> str:
    """An integer with its thousands apart."""
    return f"{value:,}"
