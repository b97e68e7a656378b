"""
What the shell is offered after TAB: names out of the database, if it answers at once.

Completion never fails and never waits long: what goes wrong means that nothing is offered. It starts no
embedded Postgres, but asks one that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings
    from cableway.store.executor import Steps

PATIENCE_S = 2
"""Seconds after which the database has taken too long; libpq knows no less."""
MOST = 50
"""Names that are offered at once."""


def pipelines(incomplete: str) -> list[tuple[str, str]]:
    """Stored pipelines that are not archived, with their descriptions."""
    return _offered(incomplete, _pipelines)


def runs(incomplete: str) -> list[tuple[str, str]]:
    """The newest runs, with their pipelines and states."""
    return _offered(incomplete, _runs)


def pipelines_and_runs(incomplete: str) -> list[tuple[str, str]]:
    """What `cableway run` takes; runs only once a few characters of an id are there."""
    return pipelines(incomplete) + (runs(incomplete) if incomplete else [])


def bloc_types(incomplete: str) -> list[tuple[str, str]]:
    """The bloc types that this installation knows."""
    return _offered(incomplete, _bloc_types)


def schedulers(incomplete: str) -> list[tuple[str, str]]:
    """The stored schedulers, with their pipelines."""
    return _offered(incomplete, _schedulers)


def _offered(incomplete: str, names: Callable[[], Iterable[tuple[str, str]]]) -> list[tuple[str, str]]:
    with suppress(Exception):
        return [pair for pair in names() if pair[0].startswith(incomplete)][:MOST]
    return []


def _pipelines() -> Iterable[tuple[str, str]]:
    from cableway.store.reading import read_pipelines

    return [(row.name, row.description) for row in _read(read_pipelines()) if row.archived_at is None]


def _runs() -> Iterable[tuple[str, str]]:
    from cableway.store.reading import read_runs

    return [(row.run_id, f"{row.pipeline}, {row.state}") for row in _read(read_runs(limit=MOST))]


def _schedulers() -> Iterable[tuple[str, str]]:
    from cableway.store.reading import read_schedulers

    return [(row.name, row.pipeline) for row in _read(read_schedulers())]


def _bloc_types() -> Iterable[tuple[str, str]]:
    from cableway.catalog import Catalog
    from cableway.settings import get_settings

    catalog = Catalog(get_settings().blocs)
    return [(name, catalog.load(name).summary) for name in catalog.names()]


def _read(steps: Steps[Any]) -> Any:
    """Ask the database that is there already; nothing is created in it."""
    from dataclasses import replace

    from psycopg.rows import dict_row

    from cableway.settings import get_settings
    from cableway.store.connect import Connection, connection_parameters
    from cableway.store.executor import Executor, drive

    database = replace(
        get_settings().database or _embedded(), statement_timeout_s=PATIENCE_S, lock_timeout_s=PATIENCE_S
    )
    parameters = connection_parameters(database)
    parameters["connect_timeout"] = str(PATIENCE_S)
    with Connection.connect(**parameters, row_factory=dict_row) as connection:
        return drive(Executor(connection, database), steps)


def _embedded() -> DatabaseSettings:
    """The embedded Postgres; where it does not run, connecting fails at once."""
    from cableway.embedded import FOLDER, Place
    from cableway.settings import DatabaseSettings

    return DatabaseSettings(url=Place(FOLDER.resolve()).url)
