"""``cableway serve`` and ``cableway migrate``."""

from __future__ import annotations

from cableway.errors import UnavailableError
from cableway.logs import set_up_logging
from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import workplace


def serve(host: str, port: int) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    try:
        from cableway_handlers.api.server import serve as serve_api
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{error.name} is not installed: pip install 'cableway[server]'") from None
    with workplace() as place:
        set_up_logging(place.settings)
        serve_api(
            place.settings.state_database,
            place.launcher(),
            environment=place.environment,
            host=host,
            port=port,
            on_listening=lambda address: screen.say(f"listening on {address}"),
        )


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
