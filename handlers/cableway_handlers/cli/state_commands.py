"""``state``, as typer sees it."""

from __future__ import annotations

from typing import Annotated

import typer

from cableway_handlers.cli.options import Json, Pipeline

state_app = typer.Typer(help="See how far sources were read, and move that.", no_args_is_help=True)

Loader = Annotated[
    str | None, typer.Option("--loader", metavar="BLOC", help="Which loader, where several keep a cursor.")
]


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    app.add_typer(state_app, name="state")


@state_app.command("show")
def state_show(name: Pipeline, json: Json = False) -> None:
    """Show how far the sources of a pipeline were read.

    Example: cableway state show orders
    """
    from cableway_handlers.cli import state

    state.show(name, json=json)


@state_app.command("set")
def state_set(
    name: Pipeline,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The next run loads what is at or above it.")],
    loader: Loader = None,
    json: Json = False,
) -> None:
    """Let the next run of a pipeline load from a value of its cursor field on.

    It opens a new line: what was written before counts as no repetition.

    Example: cableway state set orders 2026-01-01T00:00:00+00:00
    """
    from cableway_handlers.cli import state

    state.move(name, value, loader, json=json)


@state_app.command("reset")
def state_reset(name: Pipeline, loader: Loader = None, json: Json = False) -> None:
    """Let the next run of a pipeline load everything again.

    It opens a new line: what was written before counts as no repetition.

    Example: cableway state reset orders
    """
    from cableway_handlers.cli import state

    state.move(name, None, loader, json=json)
