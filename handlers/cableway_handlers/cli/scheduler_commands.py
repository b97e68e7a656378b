"""``scheduler``, ``tick`` and ``schedulers``, as typer sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from cableway_handlers.cli.completion import schedulers as known_schedulers
from cableway_handlers.cli.options import Background, Environment, Json, Parameters
from cableway_handlers.cli.options import SchedulerNames as Names

schedulers_app = typer.Typer(help="Look at schedulers, and steer them.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"]

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="As `cableway schedulers list` shows it.", autocompletion=known_schedulers)
]


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    app.command("scheduler")(scheduler)
    app.command("tick")(tick)
    app.add_typer(schedulers_app, name="schedulers")


def scheduler(names: Names = None, background: Background = False, env: Environment = None) -> None:
    """Start runs when they are due, until SIGTERM or SIGINT.

    Any number of these may run beside each other: each tick makes one run. Runs are processes on this machine.

    Example: cableway scheduler --background --env SOURCE=prod
    """
    from cableway_handlers.cli import schedulers

    schedulers.serve(names, env or [], background=background)


def tick(names: Names = None, json: Json = False) -> None:
    """Decide what is due now and start its runs.

    For a cron, or a cloud, that calls it once a minute: no process need live on in between.

    Example: cableway tick
    """
    from cableway_handlers.cli import schedulers

    schedulers.tick(names, json=json)


@schedulers_app.command("list")
def schedulers_list(json: Json = False) -> None:
    """List the schedulers, with when each is due next.

    Example: cableway schedulers list
    """
    from cableway_handlers.cli import schedulers

    schedulers.list_schedulers(json=json)


@schedulers_app.command("show")
def schedulers_show(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="So many ticks.")] = 10,
    json: Json = False,
) -> None:
    """Show a scheduler with its policies, and what became of its last ticks.

    Example: cableway schedulers show every_hour
    """
    from cableway_handlers.cli import schedulers

    schedulers.show(name, limit, json=json)


@schedulers_app.command("preview")
def schedulers_preview(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A stored scheduler.", autocompletion=known_schedulers)
    ] = None,
    expression: Annotated[
        str | None, typer.Option(metavar="CRON", help="A rule that is stored nowhere.", show_default=False)
    ] = None,
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="The zone of that rule.")] = "UTC",
    begin: Annotated[
        datetime | None, typer.Option("--from", metavar="TIME", formats=_FORMATS, help="From this time of the zone on.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="So many.")] = 10,
    json: Json = False,
) -> None:
    """Show when a scheduler, or a rule, is due next, and what changes of the clocks do to it.

    Example: cableway schedulers preview every_hour -n 24

    Example: cableway schedulers preview --expression "30 2 * * *" --timezone Europe/Paris --from 2027-03-27
    """
    from cableway_handlers.cli import schedulers

    schedulers.preview(name, expression, timezone, begin, limit, json=json)


@schedulers_app.command("pause")
def schedulers_pause(
    name: Name,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why, kept with it.", show_default=False)] = "",
    json: Json = False,
) -> None:
    """Let a scheduler start no more runs. Those that were started go on.

    Example: cableway schedulers pause every_hour --note "the source is being moved"
    """
    from cableway_handlers.cli import schedulers

    schedulers.pause(name, note, json=json)


@schedulers_app.command("resume")
def schedulers_resume(name: Name, json: Json = False) -> None:
    """Let a scheduler go on with its next tick; those that went by stay on record without runs.

    Example: cableway schedulers resume every_hour
    """
    from cableway_handlers.cli import schedulers

    schedulers.resume(name, json=json)


@schedulers_app.command("trigger")
def schedulers_trigger(name: Name, parameter: Parameters = None, json: Json = False) -> None:
    """Start the run of a scheduler now. It belongs to no tick, and the next one comes as ever.

    Example: cableway schedulers trigger every_hour -p day=2013-01-01
    """
    from cableway_handlers.cli import schedulers

    schedulers.trigger(name, parameter or [], json=json)


@schedulers_app.command("backfill")
def schedulers_backfill(
    name: Name,
    since: Annotated[
        datetime,
        typer.Option("--from", metavar="TIME", formats=_FORMATS, help="The first tick, in the scheduler's zone."),
    ],
    until: Annotated[
        datetime, typer.Option("--to", metavar="TIME", formats=_FORMATS, help="What is due from here on stays out.")
    ],
    at_most: Annotated[
        int, typer.Option("--max", metavar="N", min=1, max=10_000, help="More ticks than these are refused.")
    ] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Record nothing, and show what would be.")] = False,
    json: Json = False,
) -> None:
    """Record a run for each tick of a time that has gone by and has none.

    The rule is taken as it is now. The runs wait for each other as the pipeline's concurrency has it.

    Example: cableway schedulers backfill every_hour --from 2027-01-01 --to 2027-01-02 --dry-run
    """
    from cableway_handlers.cli import schedulers

    schedulers.backfill(name, since, until, at_most, dry_run=dry_run, json=json)
