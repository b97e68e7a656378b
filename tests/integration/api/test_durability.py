"""What was answered 202 outlives the API and its Postgres; without Postgres there is no 202."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.postgres import Postgres, running_postgres
from tests.integration.api.conftest import Database
from tests.integration.api.sending import SECRET_TEXT, webhook
from tests.integration.api.serving import NO_TLS

SERVER = """
import os, sys
from pathlib import Path
from cableway.settings import read_settings
from cableway_handlers.api.server import serve
from cableway_handlers.launch import LocalLauncher

launcher = LocalLauncher(Path(sys.argv[1]), environment=os.environ, command=(sys.executable, "-c", "pass"))
serve(
    read_settings(), launcher, environment=os.environ, port=0,
    on_listening=lambda url: print(url, flush=True),
)
"""


@pytest.fixture
def server() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture
def database(server: Postgres) -> Database:
    database = Database(server.conninfo())
    database.add_pipeline()
    database.add_hook("orders", "env:ORDERS_SECRET")
    return database


class Service:
    """The API in a process of its own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder)],
            env={**os.environ, "DATABASE_URL": database.conninfo, "ORDERS_SECRET": SECRET_TEXT},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False, verify=NO_TLS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def close(self) -> None:
        self.client.close()
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def service(database: Database, tmp_path: Path) -> Iterator[Service]:
    service = Service(database, tmp_path)
    yield service
    service.close()


@pytest.mark.promise("P2")
def test_the_run_is_there_after_api_and_postgres_were_killed(
    service: Service, server: Postgres, database: Database, tmp_path: Path
) -> None:
    request = webhook(service.url)
    response = service.client.send(request)
    service.kill()
    server.stop("immediate")
    assert response.status_code == 202
    server.start()
    run_id = response.json()["run_id"]
    assert database.rows("SELECT run_id::text FROM cableway.runs") == [{"run_id": run_id}]

    after = Service(database, tmp_path)
    try:
        again = after.client.send(request_to(after, request))
        assert (again.status_code, again.json()["run_id"]) == (200, run_id)
    finally:
        after.close()


def test_without_postgres_the_answer_is_503_and_soon_after_it_is_202_again(
    service: Service, server: Postgres, database: Database
) -> None:
    assert service.client.send(webhook(service.url)).status_code == 202
    server.stop("fast")
    refused = service.client.send(webhook(service.url))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.elapsed.total_seconds() < 4
    assert refused.headers["content-type"] == "application/problem+json"
    assert "/tmp" not in refused.text  # nothing of where the database is
    assert service.client.get("/health").json() == {"status": "down", "database": "down", "scheduler": "off"}
    assert service.client.get("/healthz").status_code == 200
    asked = service.client.post("/runs", json={"pipeline": "orders"})
    assert (asked.status_code, asked.headers["retry-after"]) == (503, "5")
    assert asked.elapsed.total_seconds() < 4
    server.start()
    assert service.client.send(webhook(service.url)).status_code == 202
    assert database.rows("SELECT count(*) FROM cableway.runs") == [{"count": 2}]


def request_to(service: Service, request: httpx.Request) -> httpx.Request:
    """The same webhook to another address."""
    return httpx.Request("POST", f"{service.url}{request.url.path}", content=request.content, headers=request.headers)
