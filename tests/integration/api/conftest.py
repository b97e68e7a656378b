"""A real server on the loopback over a real Postgres, with one hook and one pipeline."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from psycopg.rows import DictRow, dict_row

from cableway.definition import (
    DOCUMENT_FORMAT,
    BlocDefinition,
    ParameterDefinition,
    PipelineDefinition,
    StageDefinition,
)
from cableway.settings import DatabaseSettings
from cableway.store.connect import connect
from cableway.store.migrations import ensure_schema
from cableway_handlers.api.app import create_app
from cableway_handlers.api.database import DatabaseDesk
from cableway_handlers.api.hooks import Limits
from cableway_handlers.launch import Launch
from tests.integration.api.sending import SECRET_TEXT

PIPELINE = PipelineDefinition(
    name="orders",
    stages=(StageDefinition(name="load", blocs=(BlocDefinition(name="orders_csv", bloc_type="csv_loader"),)),),
    parameters={
        "day": ParameterDefinition(type="string", default="today"),
        "count": ParameterDefinition(type="integer"),
    },
)


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

    def add_hook(self, name: str, *secrets: str, pipeline: str = "orders", enabled: bool = True) -> None:
        self.execute(
            "INSERT INTO cableway.triggers (name, pipeline, kind, config, enabled) VALUES (%s, %s, 'webhook', %s, %s)",
            name,
            pipeline,
            json.dumps({"secrets": secrets}),
            enabled,
        )

    def add_pipeline(self, definition: PipelineDefinition) -> None:
        document = json.dumps(definition.document())
        self.execute(
            "WITH p AS (INSERT INTO cableway.pipelines (name, active_version) VALUES (%s, 1)) "
            "INSERT INTO cableway.pipeline_versions (pipeline, version, document, document_format, content_hash) "
            "VALUES (%s, 1, %s, %s, %s)",
            definition.name,
            definition.name,
            document,
            DOCUMENT_FORMAT,
            definition.content_hash(),
        )


@dataclass
class Api:
    url: str
    database: Database
    launches: RecordingLaunches
    environment: dict[str, str]
    client: httpx.Client

    def send(self, request: httpx.Request) -> httpx.Response:
        return self.client.send(request)


@pytest.fixture
def stored(database: str) -> Database:
    """A database with the schema, the pipeline and the hook ``orders``."""
    settings = DatabaseSettings(url=database)
    with connect(settings) as connection:
        ensure_schema(connection, settings)
    stored = Database(database)
    stored.add_pipeline(PIPELINE)
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
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", ws="none", log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = "http://127.0.0.1:{1}".format(*listener.getsockname())
        try:
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                yield Api(url, stored, launches, environment, client)
        finally:
            server.should_exit = True
            thread.join(20)
        assert not thread.is_alive()
