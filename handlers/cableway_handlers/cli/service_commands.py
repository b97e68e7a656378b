"""What serves and what keeps house, as typer sees it."""

from __future__ import annotations

from typing import Annotated

import typer

from cableway_handlers.cli.options import Background, Environment, Json, SchedulerNames


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    for command in (serve, migrate, doctor, version):
        app.command()(command)


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Beyond this machine only once there is an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0: any that is free.")] = 8000,
    scheduler: Annotated[bool, typer.Option("--scheduler/--no-scheduler", help="Start runs by cron, too.")] = True,
    names: SchedulerNames = None,
    background: Background = False,
    env: Environment = None,
) -> None:
    """Serve the API, and start runs when they are due.

    Signed webhooks become runs, which are started on this machine. SIGTERM and SIGINT end it once what is under way is
    answered; SIGHUP replaces the process and loses no request.

    Example: cableway serve --port 8080 --background --env SOURCE=prod
    """
    from cableway_handlers.cli import service

    service.serve(host, port, scheduler=scheduler, names=names, env=env or [], background=background)


def migrate(json: Json = False) -> None:
    """Create Cableway's tables, or bring them up to this version.

    Example: cableway migrate
    """
    from cableway_handlers.cli import service

    service.migrate(json=json)


def doctor(json: Json = False) -> None:
    """Say what is reachable, configured and missing here. The exit code says whether a run could start.

    Example: cableway doctor
    """
    from cableway_handlers.cli import doctor as examination

    raise typer.Exit(examination.doctor(json=json))


def version(json: Json = False) -> None:
    """Print the version.

    Example: cableway version
    """
    from importlib.metadata import version as version_of

    number = version_of("cableway")
    if json:
        from cableway_handlers.cli import screen

        screen.as_json({"cableway": number})
    else:
        typer.echo(f"cableway {number}")
