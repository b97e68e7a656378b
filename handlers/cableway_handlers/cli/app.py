"""The command line as typer sees it. Each command loads what it needs when it is called, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="cableway",
    help="Run data pipelines, each once, as one container, with a trace of every item.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app = typer.Typer(help="Look at runs.", no_args_is_help=True)
blocs_app = typer.Typer(help="Look at the bloc types that pipelines are made of.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
app.add_typer(blocs_app, name="blocs")

File = Annotated[Path, typer.Argument(help="A pipeline document: YAML, JSON or TOML.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    what: Annotated[str, typer.Argument(metavar="NAME|RUN_ID", help="A stored pipeline, or a recorded run.")],
    parameter: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; may be repeated.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The same key again is the same run.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the job's log as it comes.")] = False,
    json: Json = False,
) -> None:
    """Run a pipeline now, as a process of its own, and show how it went.

    Example: cableway run flights -p day=2013-01-01
    """
    from cableway_handlers.cli import runs

    raise typer.Exit(runs.run(what, parameter or [], key=key, verbose=verbose, json=json))


@runs_app.command("list")
def runs_list(
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline's.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="So many at most.")] = 20,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    from cableway_handlers.cli import runs

    runs.list_runs(pipeline, limit, json=json)


@runs_app.command("show")
def runs_show(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="As `cableway runs list` shows it.")],
    json: Json = False,
) -> None:
    """Show a run: stages with items, rows, time and wait; what failed; and its trace."""
    from cableway_handlers.cli import runs

    runs.show_run(run_id, json=json)


@app.command()
def validate(file: File) -> None:
    """Check a pipeline document and list every fault. Needs no database.

    Example: cableway validate pipeline.yaml
    """
    from cableway_handlers.cli import definitions

    definitions.validate(file)


@app.command()
def apply(
    file: File,
    note: Annotated[str, typer.Option(help="What changed, kept with the version.")] = "",
    json: Json = False,
) -> None:
    """Check a pipeline document and store it as a new version, unless nothing has changed.

    Example: cableway apply pipeline.yaml --note "weather joined by hour"
    """
    from cableway_handlers.cli import definitions

    definitions.apply(file, note, json=json)


@app.command()
def pipelines(json: Json = False) -> None:
    """List the stored pipelines."""
    from cableway_handlers.cli import definitions

    definitions.list_pipelines(json=json)


@blocs_app.command("list")
def blocs_list(json: Json = False) -> None:
    """List the bloc types, with what each does."""
    from cableway_handlers.cli import definitions

    definitions.list_bloc_types(json=json)


@blocs_app.command("show")
def blocs_show(
    name: Annotated[str, typer.Argument(metavar="TYPE", help="As `cableway blocs list` shows it.")], json: Json = False
) -> None:
    """Show a bloc type: its config, and an example.

    Example: cableway blocs show csv_loader
    """
    from cableway_handlers.cli import definitions

    definitions.show_bloc_type(name, json=json)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="An address of the loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
) -> None:
    """Serve the API: signed webhooks become runs, which are started on this machine."""
    from cableway_handlers.cli import service

    service.serve(host, port)


@app.command()
def migrate() -> None:
    """Create Cableway's tables, or bring them up to this version."""
    from cableway_handlers.cli import service

    service.migrate()


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    typer.echo(f"cableway {version_of('cableway')}")
