"""``run`` and ``runs``, as typer sees them."""

from __future__ import annotations

from typing import Annotated

import typer

from cableway.store.port import RunState
from cableway_handlers.cli.completion import pipelines, pipelines_and_runs
from cableway_handlers.cli.options import Json, Parameters, RunId, WhichRun

runs_app = typer.Typer(help="Look at runs.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    app.command("run")(run)
    app.add_typer(runs_app, name="runs")


_What = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME|RUN_ID",
        help="A stored pipeline, or a recorded run.",
        autocompletion=pipelines_and_runs,
        show_default=False,
    ),
]
_Given = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="BLOC=FILE",
        help="Take a bloc's data from a JSON, JSON Lines or CSV file; may be repeated.",
    ),
]


def run(  # noqa: PLR0913, PLR0917 - each is an option
    what: _What = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="A document; needs no database, and is recorded nowhere."),
    ] = None,
    parameter: Parameters = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="The same key again is the same run.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Take so many items of the source; its rows, if it loads whole."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, and show what would be.")] = False,
    first: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Begin with this stage.")] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="STAGE", help="End with this stage.")] = None,
    given: _Given = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Exit with 0 where items failed and others succeeded.")
    ] = False,
    parts: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, max=1000, help="Share the source out among so many parts, side by side."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log as it comes.")] = False,
    json: Json = False,
) -> None:
    """Run a pipeline now, and show how it went.

    A stored one runs as a process of its own and is recorded. A file, or a part of a pipeline, runs in this
    process and leaves nothing behind but what it wrote.

    Example: cableway run flights -p day=2013-01-01

    Example: cableway run flights --parts 4

    Example: cableway run --file pipeline.yaml --limit 2 --dry-run

    Example: cableway run flights --from clean --input flights=some.csv
    """
    from cableway_handlers.cli import runs

    wish = runs.Wish(
        what=what,
        file=file,
        parameters=parameter or [],
        key=key,
        limit=limit,
        dry_run=dry_run,
        first=first,
        last=last,
        given=given or [],
        partial_ok=partial_ok,
        parts=parts,
    )
    raise typer.Exit(runs.run(wish, verbose=verbose, json=json))


@runs_app.command("list")
def runs_list(
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this pipeline's.", autocompletion=pipelines)
    ] = None,
    state: Annotated[
        RunState | None, typer.Option(metavar="STATE", help="Only those in this state.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE|INSTANT", help="Only those made since: 2h, 30d, or 2026-01-31T08:00+01:00."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="So many at most.")] = 20,
    json: Json = False,
) -> None:
    """List runs, the newest first.

    Example: cableway runs list --pipeline flights -n 5

    Example: cableway runs list --state failed --since 1d
    """
    from cableway_handlers.cli import runs

    runs.list_runs(pipeline, state, since, limit, json=json)


@runs_app.command("show")
def runs_show(run: WhichRun, json: Json = False) -> None:
    """Show a run: stages, attempts, limits, linked runs, what failed, and its trace.

    Example: cableway runs show flights

    Example: cableway runs show 019aa2f0-5a3c-7a50-9d6e-0f1d2c3b4a59
    """
    from cableway_handlers.cli import runs

    runs.show_run(run, json=json)


@runs_app.command("cancel")
def runs_cancel(
    run_id: RunId,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    json: Json = False,
) -> None:
    """Ask for the end of a run: at once where nobody works on it, else it drains within its grace.

    Example: cableway runs cancel 019aa2f0-5a3c-7a50-9d6e-0f1d2c3b4a59 --wait
    """
    from cableway_handlers.cli import run_follow

    run_follow.cancel(run_id, wait=wait, json=json)


@runs_app.command("logs")
def runs_logs(
    run: WhichRun,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of this attempt; by default the last.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the attempt has ended.")] = False,
) -> None:
    """Print what a run's process on this machine has written.

    Example: cableway runs logs flights --follow
    """
    from cableway_handlers.cli import run_follow

    run_follow.logs(run, attempt=attempt, follow=follow)


@runs_app.command("watch")
def runs_watch(run: WhichRun, json: Json = False) -> None:
    """Tell what becomes of a run until it has ended; the exit code is the run's.

    Example: cableway runs watch flights
    """
    from cableway_handlers.cli import run_follow

    raise typer.Exit(run_follow.watch(run, json=json))


@runs_app.command("explain")
def runs_explain(run: WhichRun, json: Json = False) -> None:
    """Say which stage held a run up, and how long it would have taken with more workers there.

    Example: cableway runs explain flights
    """
    from cableway_handlers.cli import explain

    explain.explain(run, json=json)
