"""
The demo: store the flights pipeline, run it as a container would, show what the run left behind.

Run it from the repository's root with ``make demo``. Without ``DATABASE_URL`` or ``DATABASE_HOST``
it uses an embedded Postgres whose data stays in ``.cableway/``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from rich.console import Console
from rich.table import Table

from cableway.checks import read_document
from cableway.embedded import embedded_postgres
from cableway.errors import CablewayError
from cableway.runs import RunRequest
from cableway.settings import environment, read_settings
from cableway.storage import DatabaseStorage
from cableway.store.reading import RunDetails
from cableway.telemetry.summary import summary
from cableway.telemetry.waterfall import waterfall

HERE = Path(__file__).parent
PIPELINE = HERE / "pipeline.yaml"
BLOCS = "examples.flights.blocs"
ROWS_SHOWN = 5


def main() -> int:
    """Run the demo and return the job's exit code."""
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    try:
        with _database(console) as variables:
            return _demonstrate(console, variables)
    except CablewayError as error:
        console.print(f"[red]{error}[/red]")
        return error.exit_code


def _demonstrate(console: Console, variables: Mapping[str, str]) -> int:
    settings = read_settings(variables)
    with DatabaseStorage.from_settings(settings) as storage:
        saved = storage.save_pipeline(read_document(PIPELINE), author="demo")
        run_id = storage.record_run(RunRequest(pipeline=saved.name)).run_id
    console.print(
        f"pipeline [bold]{saved.name}[/bold], version {saved.version}; its run is recorded, now the container:"
    )
    console.print(f"[dim]$ python -m cableway {run_id}[/dim]\n")
    job = subprocess.run(
        [sys.executable, "-m", "cableway", run_id], env=dict(variables), stdout=subprocess.PIPE, text=True, check=False
    )
    with DatabaseStorage.from_settings(settings) as storage:
        details = storage.get_run(run_id)
        spans = storage.list_spans(run_id)
        definition = storage.get_pipeline(saved.name).definition
    _show_summary(console, details)
    outputs = details.run.outputs or {}
    in_order = [outputs[bloc.name] for stage in definition.stages for bloc in stage.blocs if bloc.name in outputs]
    _show_tables(console, make_conninfo(**settings.state_database.parameters()), in_order)
    if spans:
        console.print("[bold]the trace[/bold], the slowest items in it")
        console.print(waterfall(spans, width=min(console.width, 110), items=3))
    last: dict[str, Any] = json.loads(job.stdout.splitlines()[-1]) if job.stdout else {}
    console.print(
        f"\nexit code {job.returncode}, {last.get('state', 'no outcome')}; all of it is in Postgres: run {run_id}"
    )
    return job.returncode


@contextmanager
def _database(console: Console) -> Generator[dict[str, str]]:
    """The environment to run in, with a database in it."""
    variables = {**environment(), "CABLEWAY_BLOCS": BLOCS}
    if variables.get("DATABASE_URL") or variables.get("DATABASE_HOST"):
        yield variables
        return
    with embedded_postgres(say=lambda line: console.print(line, style="dim")) as url:
        yield {**variables, "DATABASE_URL": url}


def _show_summary(console: Console, details: RunDetails) -> None:
    run = details.run
    console.print(
        summary(
            run.pipeline,
            run.state,
            counts=run.counts or {},
            stages=details.stages,
            wall_s=run.duration_s or 0.0,
            trace_id=run.trace_id,
            problem=run.error,
        )
    )
    console.print()


def _show_tables(console: Console, conninfo: str, outputs: Sequence[Mapping[str, Any]]) -> None:
    """A few rows of each table that the run wrote."""
    names = [output["table"] for output in outputs if "table" in output]
    with psycopg.Connection[DictRow].connect(conninfo, row_factory=dict_row) as connection:
        for name in names:
            table = sql.Identifier(*name.split("."))
            count = connection.execute(sql.SQL("SELECT count(*) AS rows FROM {}").format(table)).fetchone()
            rows = connection.execute(
                sql.SQL("SELECT * FROM {} LIMIT {}").format(table, sql.Literal(ROWS_SHOWN))
            ).fetchall()
            console.print(f"table [bold]{name}[/bold], {count['rows'] if count else 0:,} rows")
            console.print(_as_table(rows))
            console.print()


def _as_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
