"""How runs look in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from cableway_handlers.cli.screen import console, count, plain, print_table, say, table, when

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from cableway.store.memory import MemoryRun
    from cableway.store.port import DeadLetter, SpanRow
    from cableway.store.reading import AttemptRow, DeadLetterRow, RunDetails, RunRow
    from cableway.stored.following import HeldPlaces, LinkedRun

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


def runs_table(rows: Sequence[RunRow]) -> None:
    """Print the runs, a line for each."""
    shown = table("run", "pipeline", "state", "items", "failed", "rows out", "time", "started")
    for row in rows:
        counts = row.counts or {}
        shown.add_row(
            row.run_id,
            plain(f"{row.pipeline} v{row.version}"),
            _state(row),
            _number(counts.get("emitted")),
            _number(counts.get("failed") or None),
            _number(row.rows_out or None),
            _seconds(row.duration_s),
            when(row.started_at),
        )
    print_table(shown, rows, "no runs yet: `cableway run NAME` makes one")


def run_summary(details: RunDetails, *, trace: bool = True) -> None:
    """Print how a run went: state, counts, stages, what came out of it and, with *trace*, its trace id."""
    from cableway.telemetry.summary import summary

    run = details.run
    out = console()
    out.print(
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
    _outputs(out, run.outputs or {})


def attempts_table(rows: Sequence[AttemptRow]) -> None:
    """Print a run's attempts, where there is more to say of them than of the run."""
    if len(rows) < 2 and not any(row.reason or row.external_id for row in rows):
        return
    shown = table("attempt", "state", "container", "exit code", "began", "ended", "reason")
    for row in rows:
        state, code = row.state.replace("_", " "), "" if row.exit_code is None else str(row.exit_code)
        times = (when(row.started_at), when(row.ended_at))
        shown.add_row(str(row.attempt), *map(plain, (state, row.external_id or "", code, *times, row.reason or "")))
    console().print(shown)


def linked_runs(links: Sequence[LinkedRun], limits: Sequence[HeldPlaces]) -> None:
    """Print the runs that hang together with a run, and what it holds of limits."""
    for link in links:
        words = f"{link.link.replace('_', ' ')} {link.run_id} ({str(link.state).replace('_', ' ')})"
        console().print(plain(words), soft_wrap=True)
    for limit in limits:
        console().print(plain(f"limit {limit.name}: holds {count(limit.slots, 'place')}"))


def trial(run: MemoryRun, *, wall_s: float) -> None:
    """Print how a run went that is recorded nowhere, and what would have been written."""
    from cableway.telemetry.summary import summary

    out, result = console(), run.result
    out.print(
        summary(
            run.definition.name,
            run.state,
            counts=result.counts if result else {},
            stages=result.stages if result else (),
            wall_s=wall_s,
        )
    )
    # What went wrong the job has said itself.
    _outputs(out, result.outputs if result else {})
    dead_letters_table(list(run.letters.values()))
    say("tried out in this process, recorded nowhere")


def run_spans(spans: Sequence[SpanRow]) -> None:
    """Print a run's trace as a waterfall."""
    from cableway.telemetry.waterfall import waterfall

    out = console()
    out.print(waterfall(spans, width=out.width), end="")


def dead_letters_table(rows: Sequence[DeadLetterRow | DeadLetter]) -> None:
    """Print the units that failed for good, if any did."""
    shown = table("failed item", "stage", "bloc", "error", "message")
    for row in rows:
        shown.add_row(*map(plain, (row.item_id, row.stage, row.bloc, row.error_type, row.message)))
    if rows:
        console().print(shown)


def _outputs(out: Console, outputs: Mapping[str, Any]) -> None:
    for name, value in outputs.items():
        withheld = cast("dict[str, Any]", value).get("would_write") if isinstance(value, dict) else None
        if withheld is None:
            out.print(plain(f"{name}: {value if isinstance(value, str) else json.dumps(value)}"))
        else:
            _withheld(out, name, dict(withheld))


def _withheld(out: Console, name: str, what: dict[str, Any]) -> None:
    rows, items, sample = what.pop("rows"), what.pop("items"), what.pop("sample")
    where = "".join(f", {key} {value}" for key, value in what.items())
    out.print(plain(f"{name}: would have written {count(rows, 'row')} in {count(items, 'item')}{where}"))
    for row in sample:
        out.print(plain(f"  {json.dumps(row, ensure_ascii=False)}"), soft_wrap=True)


def _state(row: RunRow) -> Text:
    return plain(str(row.state).replace("_", " "), _STYLES.get(row.state, "red"))


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
