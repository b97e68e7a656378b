"""API keys, as typer sees them."""

from __future__ import annotations

from typing import Annotated

import typer

from cableway_handlers.cli.options import Json

keys_app = typer.Typer(help="Make, list and revoke the keys that open the API.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    for name, command in (("create", create), ("list", list_keys), ("revoke", revoke)):
        keys_app.command(name)(command)
    app.add_typer(keys_app, name="keys")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE",
            help="read, write, run or admin, or one resource as in read:runs; may be repeated. By default read.",
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Let it know of this pipeline alone; may be repeated.", show_default=False),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="AGE", help="When it ends, as in 12h, 90d or 1y.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Make a key and print it: now, and never again.

    Example: cableway keys create ci --scope read --scope run --pipeline orders --expires 90d
    """
    from cableway_handlers.cli import keys

    keys.create(name, scope or ["read"], pipeline or [], expires, json=json)


def list_keys(json: Json = False) -> None:
    """List the keys with what they may do and when they were used last; never the keys themselves.

    Example: cableway keys list
    """
    from cableway_handlers.cli import keys

    keys.show(json=json)


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `cableway keys list` shows it.")], json: Json = False
) -> None:
    """Let a key open nothing any more, from the next request on.

    Example: cableway keys revoke ci
    """
    from cableway_handlers.cli import keys

    keys.revoke(name, json=json)
