"""A real server on the loopback over a real Postgres, with one hook and one pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway_handlers.api.app import create_app
from cableway_handlers.api.database import DatabaseDesk
from cableway_handlers.api.hooks import HookDesk, Limits
from cableway_handlers.launch import Launch
from tests.integration.api.sending import SECRET_TEXT
from tests.integration.api.serving import NO_TLS, serving

PIPELINE = {
    "name": "orders",
    "parameters": {"day": {"type": "string", "default": "today"}, "count": {"type": "integer"}},
    "stages": [
        {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": {"file_path": "data.csv"}}]}
    ],
}


@dataclass
class RecordingLaunches:
    """Where the API leaves launches; nothing is started."""

    launches: list[Launch] = field(default_factory=list[Launch])

    def add(self, launch: Launch) -> bool:
        self.launches.append(launch)
        return True

    def close(self) -> None:
        pass


@dataclass
class Database:
    conninfo: str

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.Connection[DictRow].connect(self.conninfo, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        with psycopg.connect(self.conninfo) as connection:
            connection.execute(statement.encode(), values)

    def add_hook(self, name: str, *secrets: str, pipeline: str = "orders", enabled: bool = True, **config: Any) -> None:
        with DatabaseStorage(DatabaseSettings(url=self.conninfo)) as storage:
            storage.create_trigger(
                name, pipeline, kind="webhook", config={"secrets": list(secrets), **config}, enabled=enabled
            )

    def add_pipeline(self) -> None:
        with DatabaseStorage(DatabaseSettings(url=self.conninfo)) as storage:
            storage.save_pipeline(PIPELINE)


@dataclass
class Api:
    url: str
    database: Database
    launches: RecordingLaunches
    environment: dict[str, str]
    client: httpx.Client

    def send(self, request: httpx.Request) -> httpx.Response:
        return self.client.send(request)

    def tidy(self) -> None:
        """Let go of what the hooks need not keep any more."""
        asyncio.run(_tidy(HookDesk(DatabaseSettings(url=self.database.conninfo))))


async def _tidy(desk: HookDesk) -> None:
    await desk.tidy()
    await desk.close()


@pytest.fixture
def stored(state: DatabaseSettings) -> Database:
    """A database with the schema, the pipeline and the hook ``orders``."""
    assert state.url is not None
    stored = Database(state.url)
    stored.add_pipeline()
    stored.add_hook("orders", "env:ORDERS_SECRET")
    return stored


@pytest.fixture
def api(stored: Database) -> Iterator[Api]:
    """The API over `stored`, in a thread."""
    launches, environment = RecordingLaunches(), {"ORDERS_SECRET": SECRET_TEXT}
    app = create_app(
        DatabaseDesk(DatabaseSettings(url=stored.conninfo)),
        launches,
        environment=environment,
        limits=Limits(body_bytes=64 * 1024, body_s=0.5),
    )
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False, verify=NO_TLS) as client:
        yield Api(url, stored, launches, environment, client)
