"""A project of one's own and its tests, as typer sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cableway_handlers.cli.options import Json


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    app.command()(init)
    app.command("test")(run_cases)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; it is made where it is not there.")] = Path(),
    json: Json = False,
) -> None:
    """Begin a project, which runs at once.

    It has a pipeline, a bloc of one's own, tests and a Dockerfile. Where one of its files is there already,
    nothing is written.

    Example: cableway init orders
    """
    from cableway_handlers.cli import projects

    projects.init(folder, json=json)


def run_cases(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A cases file, or a folder with files named *cases.yaml.")
    ] = Path(),
    json: Json = False,
) -> None:
    """Run the cases in YAML files.

    Each has an input for a bloc, a stage or the whole pipeline, and what must come out of it: an output or an
    error. `cableway init` writes some to begin with.

    Example: cableway test cases.yaml
    """
    from cableway_handlers.cli import cases

    raise typer.Exit(cases.test(path, json=json))
