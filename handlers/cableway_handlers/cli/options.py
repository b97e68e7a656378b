"""What several commands take: their arguments and options as typer sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cableway_handlers.cli.completion import bloc_types, pipelines, pipelines_and_runs, runs

Json = Annotated[bool, typer.Option("--json", help="Print JSON; what went wrong, too.")]
Documents = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|DIR", help="A pipeline document (YAML, JSON or TOML), or a folder of them.", show_default=False
    ),
]
Pipeline = Annotated[
    str,
    typer.Argument(metavar="NAME", help="As `cableway pipelines` shows it.", autocompletion=pipelines),
]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="As `cableway versions NAME` shows it.")]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="As `cableway runs list` shows it.", autocompletion=runs)]
WhichRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN_ID|NAME",
        help="A run as `cableway runs list` shows it, or a pipeline: then its newest run.",
        autocompletion=pipelines_and_runs,
    ),
]
BlocType = Annotated[
    str, typer.Argument(metavar="TYPE", help="As `cableway blocs list` shows it.", autocompletion=bloc_types)
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; may be repeated.", show_default=False),
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Why, kept with the version.", show_default=False)]
Author = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who, kept with the version; by default your user name.")
]
SchedulerNames = Annotated[
    str | None, typer.Option("--scheduler-names", metavar="NAME,NAME", help="Only these; by default all.")
]
Background = Annotated[bool, typer.Option("--background", help="Go on as a process of its own, and print its id.")]
Environment = Annotated[
    list[str] | None,
    typer.Option(
        "--env", metavar="KEY=VALUE", help="A variable for it and its runs; may be repeated.", show_default=False
    ),
]
Prune = Annotated[bool, typer.Option("--prune", help="Archive the stored pipelines that no document describes.")]
