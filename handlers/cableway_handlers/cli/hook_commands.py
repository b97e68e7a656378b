"""``hooks``, as typer sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cableway_handlers.cli.options import Json

hooks_app = typer.Typer(help="Look at webhooks and their deliveries, and send some.", no_args_is_help=True)

Hook = Annotated[str, typer.Argument(metavar="NAME", help="As `cableway hooks list` shows it.")]
Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="As `cableway hooks deliveries` shows it.")]


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    app.add_typer(hooks_app, name="hooks")


@hooks_app.command("list")
def hooks_list(json: Json = False) -> None:
    """List webhooks: what each runs, how its senders are known, and what is kept of its deliveries.

    Example: cableway hooks list
    """
    from cableway_handlers.cli import hooks

    hooks.list_hooks(json=json)


@hooks_app.command("show")
def hooks_show(what: Annotated[str, typer.Argument(metavar="NAME|DELIVERY")], json: Json = False) -> None:
    """Show a webhook's config, or a delivery as it came, with what may be a secret masked.

    Example: cableway hooks show pushed
    """
    from cableway_handlers.cli import hooks

    hooks.show(what, json=json)


@hooks_app.command("deliveries")
def hooks_deliveries(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this webhook's.")] = None,
    verdict: Annotated[
        str | None, typer.Option(metavar="VERDICT", help="Only accepted, replayed, filtered or refused ones.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="So many at most.")] = 20,
    json: Json = False,
) -> None:
    """List deliveries that are kept, the newest first, each with the verdict on it.

    Example: cableway hooks deliveries pushed --verdict refused
    """
    from cableway_handlers.cli import hooks

    hooks.deliveries(name, verdict, limit, json=json)


@hooks_app.command("send")
def hooks_send(
    name: Hook,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="SENDER",
            help="Send as standard, github, stripe or slack does; by default as the stored webhook wants it.",
        ),
    ] = None,
    sign: Annotated[bool, typer.Option("--sign", help="Sign it.")] = False,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="What to sign with: env:NAME or secret:NAME; by default the webhook's first secret.",
        ),
    ] = None,
    body: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The payload; by default an example of the sender's.")
    ] = None,
    delivery: Annotated[
        str | None, typer.Option(metavar="ID", help="The sender's name for it; by default a new one.")
    ] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="Where the API is.")] = "http://127.0.0.1:8000",
    json: Json = False,
) -> None:
    """Send a webhook, and show what it is answered. Without `--sign` it should be refused.

    Example: cableway hooks send pushed --preset github --sign
    """
    from cableway_handlers.cli import hooks

    wish = hooks.Wish(name=name, preset=preset, sign=sign, secret=secret, body=body, delivery=delivery, url=url)
    raise typer.Exit(hooks.send(wish, json=json))


@hooks_app.command("replay")
def hooks_replay(delivery: Delivery, json: Json = False) -> None:
    """Record a new run from a kept delivery, filtered and mapped as its webhook says today.

    It was verified when it came, and is not again. A service's sweep starts the run.

    Example: cableway hooks replay 019aa2f0-5a3c-7a50-9d6e-0f1d2c3b4a59
    """
    from cableway_handlers.cli import hooks

    hooks.replay(delivery, json=json)
