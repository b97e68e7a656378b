"""How things look in the terminal, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from cableway.definition import PipelineDefinition
    from cableway.store.port import SpanRow
    from cableway.store.reading import DeadLetterRow, PipelineRow, RunDetails, RunRow

PIPE_COLUMNS = 160

_STYLES = {
    "succeeded": "green",
    "completed_with_errors": "yellow",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "queued": "cyan",
    "launching": "cyan",
    "running": "cyan",
    "cancelling": "cyan",
}


def say(line: str) -> None:
    """Write *line* to stderr, so that stdout holds what was asked for alone."""
    sys.stderr.write(f"{line}\n")


def as_json(value: object) -> None:
    """Print *value*, rows or what is made of them, as JSON."""
    sys.stdout.write(json.dumps(value, default=_plain, indent=2, ensure_ascii=False) + "\n")


def runs_table(rows: Sequence[RunRow]) -> None:
    """Print the runs, a line for each."""
    table = _table("run", "pipeline", "state", "items", "failed", "rows out", "time", "started")
    for row in rows:
        counts = row.counts or {}
        table.add_row(
            row.run_id,
            f"{row.pipeline} v{row.version}",
            _state(row),
            _number(counts.get("emitted")),
            _number(counts.get("failed") or None),
            _number(row.rows_out or None),
            _seconds(row.duration_s),
            _when(row.started_at),
        )
    _print(table, rows, "no runs yet: `cableway run NAME` makes one")


def pipelines_table(rows: Sequence[PipelineRow]) -> None:
    """Print the pipelines, a line for each."""
    table = _table("pipeline", "version", "changed", "description")
    for row in rows:
        name = Text(row.name, style="dim" if row.archived_at else "")
        table.add_row(name, str(row.version), _when(row.updated_at), row.description)
    _print(table, rows, "no pipelines yet: `cableway apply FILE` stores one")


def bloc_types_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the bloc types, a line for each."""
    table = _table("type", "kind", "what it does")
    for row in rows:
        table.add_row(row["name"], row["kind"], row["summary"])
    _print(table, rows, "no bloc types")


def bloc_type(described: Mapping[str, Any]) -> None:
    """Print one bloc type: what it does, its config, an example."""
    console = _console()
    console.print(Text(f"{described['name']} ({described['kind']})", style="bold"))
    console.print(described["summary"], markup=False)
    console.print(f"lanes: {', '.join(described['lanes'])}\n", markup=False)
    table = _table("config", "type", "default", "what it is")
    schema = described["config"]
    for name, field in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        default = "required" if required else json.dumps(field.get("default"))
        table.add_row(name, _type(field), default, field.get("description", ""))
    console.print(table)
    console.print("\nexample:", json.dumps(described["example"], indent=2), markup=False)


def definition(found: PipelineDefinition) -> str:
    """The pipeline in a few words."""
    blocs = sum(len(stage.blocs) for stage in found.stages)
    return f"{found.name}: {_count(len(found.stages), 'stage')}, {_count(blocs, 'bloc')}"


def run_summary(details: RunDetails, *, trace: bool = True) -> None:
    """Print how a run went: state, counts, stages, what came out of it and, with *trace*, its trace id."""
    from cableway.telemetry.summary import summary

    run = details.run
    console = _console()
    console.print(
        summary(
            run.pipeline,
            run.state,
            counts=run.counts or {},
            stages=details.stages,
            wall_s=run.duration_s or 0.0,
            trace_id=run.trace_id if trace else None,
            problem=run.error,
        )
    )
    for name, value in (run.outputs or {}).items():
        console.print(Text(f"{name}: {value if isinstance(value, str) else json.dumps(value)}"))


def run_spans(spans: Sequence[SpanRow]) -> None:
    """Print a run's trace as a waterfall."""
    from cableway.telemetry.waterfall import waterfall

    console = _console()
    console.print(waterfall(spans, width=console.width), end="")


def dead_letters_table(rows: Sequence[DeadLetterRow]) -> None:
    """Print the units that failed for good, if any did."""
    table = _table("failed item", "stage", "bloc", "error", "message")
    for row in rows:
        table.add_row(row.item_id, row.stage, row.bloc, row.error_type, row.message)
    if rows:
        _console().print(table)


def _console() -> Console:
    # What reads a pipe has no width, and an id cut in two is none.
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table, rows: Iterable[object], empty: str) -> None:
    if rows:
        _console().print(table)
    else:
        say(empty)


def _state(row: RunRow) -> Text:
    return Text(str(row.state).replace("_", " "), style=_STYLES.get(row.state, "red"))


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _when(value: datetime | None) -> str:
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _type(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(json.dumps(value) for value in field["enum"])
    if "anyOf" in field:
        return " | ".join(_type(option) for option in field["anyOf"])
    return str(field.get("type", "any"))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
