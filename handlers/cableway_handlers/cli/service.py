"""``cableway serve`` and ``cableway migrate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cableway.errors import UnavailableError
from cableway.logs import set_up_logging
from cableway.settings import get_environment
from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import Workplace, workplace

LOG = Path(".cableway") / "api.out"
"""What a server in the background prints."""

LISTENING = "listening on"
"""What it says once requests are answered, before its address."""


def serve(host: str, port: int, *, scheduler: bool, names: str | None, env: Sequence[str], background: bool) -> None:
    """Serve the API until SIGTERM or SIGINT, here or in the background."""
    from cableway_handlers.cli.background import start_in_background, variables_of

    extra = variables_of(env)
    if background:
        arguments = ["serve", "--host", host, "--port", str(port)]
        arguments += [] if scheduler else ["--no-scheduler"]
        arguments += [] if names is None else ["--scheduler-names", names]
        pid = start_in_background(arguments, LOG, {**get_environment(), **extra}, ready=LISTENING)
        print(pid)
        screen.say(f"the API is process {pid}, and `kill {pid}` ends it; what it prints goes to {LOG}")
        return
    try:
        from cableway_handlers.api.server import serve as serve_api
        from cableway_handlers.api.server import without_listener
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{error.name} is not installed: pip install 'cableway[server]'") from None
    with workplace(extra) as place:
        set_up_logging(place.settings)
        wanted = None if names is None else _stored(place, names)
        runs = replace(place, environment=without_listener(place.environment))
        serve_api(
            place.settings,
            runs.launcher(),
            environment=place.environment,
            host=host,
            port=port,
            scheduler=scheduler,
            scheduler_names=wanted,
            on_listening=lambda address: screen.say(f"{LISTENING} {address}"),
        )


def _stored(place: Workplace, names: str) -> list[str]:
    """The schedulers that *names* lists. Raise `UnknownNameError` where one is not stored."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    with place.storage() as storage:
        for name in wanted:
            storage.get_scheduler(name)
    return wanted


def migrate(*, json: bool) -> None:
    """Create the schema, or bring it up to this version."""
    from cableway.store.connect import connect
    from cableway.store.migrations import migrate as apply_migrations

    with workplace() as place:
        database = place.settings.state_database
        with connect(database) as connection:
            applied = apply_migrations(connection, database)
    if json:
        screen.as_json({"schema": database.schema, "applied": applied})
        return
    for name in applied:
        screen.say(f"applied {name}")
    screen.say(f"the schema {database.schema!r} is up to date")
