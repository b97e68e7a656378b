"""Limits that all runs share, as typer sees them."""

from __future__ import annotations

from typing import Annotated

import typer

from cableway_handlers.cli.options import Json

limits_app = typer.Typer(help="Set and look at the limits that all runs share.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As the stages of pipelines name it.")]


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    for name, command in (("list", list_limits), ("set", set_limit), ("delete", delete_limit)):
        limits_app.command(name)(command)
    app.add_typer(limits_app, name="limits")


def list_limits(json: Json = False) -> None:
    """List the limits with what runs have taken of them.

    Example: cableway limits list
    """
    from cableway_handlers.cli import limits

    limits.show(json=json)


def set_limit(
    name: Name,
    concurrency: Annotated[
        int | None, typer.Option(metavar="UNITS", min=1, help="Units at work at a time.", show_default=False)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="UNITS", help="Units begun in each period.", show_default=False)
    ] = None,
    period: Annotated[float, typer.Option(metavar="SECONDS", help="The period of --rate.")] = 1.0,
    json: Json = False,
) -> None:
    """Make a limit, or change it; runs at work learn of it as they draw.

    Example: cableway limits set crm_api --concurrency 5 --rate 100 --period 60
    """
    from cableway_handlers.cli import limits

    limits.set_limit(name, concurrency, rate, period, json=json)


def delete_limit(name: Name, json: Json = False) -> None:
    """Forget a limit; a run whose stages name it cannot begin.

    Example: cableway limits delete crm_api
    """
    from cableway_handlers.cli import limits

    limits.delete(name, json=json)
