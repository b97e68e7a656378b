"""What keeps house in the database, as typer sees it."""

from __future__ import annotations

from typing import Annotated

import typer

from cableway_handlers.cli.completion import pipelines
from cableway_handlers.cli.options import Json


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    app.command()(prune)


def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="What ended longer ago: 30d, 12h, 90m or 2w.")],
    pipeline: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this pipeline's.", autocompletion=pipelines)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, and say how much it would be.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also runs whose dead letters nobody has dealt with.")] = False,
    batch: Annotated[int, typer.Option(metavar="ROWS", min=1, max=10_000, help="Rows in a transaction.")] = 500,
    json: Json = False,
) -> None:
    """Delete what is old: runs, ticks, deliveries, versions.

    With a run goes all that hangs on it. Open runs stay, and so do cursors, the active versions, and runs with dead
    letters that are not resolved.

    Example: cableway prune --older-than 30d --dry-run
    """
    from cableway_handlers.cli import upkeep

    upkeep.prune(older_than, pipeline, dry_run=dry_run, force=force, batch=batch, json=json)
