"""What may happen to the API and its database while webhooks come in: slow senders, outages, deaths."""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import httpx
import psycopg
import pytest

from tests.fixtures.postgres import Postgres, running_postgres
from tests.integration.api.conftest import Api, Database
from tests.integration.api.sending import SECRET_TEXT, webhook
from tests.integration.api.serving import NO_TLS
from tests.integration.api.test_hooks import HEAD, assert_problem

DYING = """
import os, sys
from cableway_handlers.api.hooks import register

record_all = register.HookDesk._record_all
async def die(desk, deliveries):
    await record_all(desk, deliveries)
    os._exit(9)
if sys.argv[1] == "dies":
    register.HookDesk._record_all = die

import uvicorn, socket
from cableway.settings import DatabaseSettings
from cableway_handlers.api.app import create_app
from cableway_handlers.api.database import DatabaseDesk

class Launches:
    def add(self, launch): return True
    def close(self): pass

app = create_app(DatabaseDesk(DatabaseSettings(url=os.environ["DATABASE_URL"])), Launches(), environment=os.environ)
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, lifespan="on", ws="none", log_config=None)).run(sockets=[listener])
"""


@pytest.mark.fault("E15")
@pytest.mark.promise("P1")
def test_a_death_between_commit_and_answer_leaves_one_run(stored: Database, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": stored.conninfo, "ORDERS_SECRET": SECRET_TEXT}

    def serve(how: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", DYING, how],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        return process, f"http://127.0.0.1:{int(process.stdout.readline())}"

    def ends(process: subprocess.Popen[str]) -> int:
        code = process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
        return code

    process, url = serve("dies")
    with httpx.Client(timeout=30, trust_env=False, verify=NO_TLS) as client:
        with pytest.raises(httpx.HTTPError):
            client.send(webhook(url, id="msg_1"))
        assert ends(process) == 9
        (before,) = stored.rows("SELECT run_id::text AS run_id FROM cableway.runs")
        process, url = serve("lives")
        try:
            again = client.send(webhook(url, id="msg_1"))
        finally:
            process.kill()
            ends(process)
    assert (again.status_code, again.json()["run_id"]) == (200, before["run_id"])
    assert stored.rows("SELECT count(*) FROM cableway.runs") == [{"count": 1}]


@pytest.mark.fault("E14")
@pytest.mark.promise("P24")
def test_a_database_that_does_not_answer_in_time_is_a_503_that_leaves_nothing(api: Api) -> None:
    assert api.send(webhook(api.url)).status_code == 202
    with psycopg.connect(api.database.conninfo) as blocking:
        blocking.execute("LOCK TABLE cableway.runs IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        refused = api.send(webhook(api.url))
        took_s = time.monotonic() - began
        assert_problem(refused, 503, "unavailable")
        assert refused.headers["retry-after"] == "5"
        blocking.rollback()
    assert took_s < 8  # 2 s, and what a busy machine adds
    assert api.database.rows("SELECT count(*) FROM cableway.runs") == [{"count": 1}]
    assert api.send(webhook(api.url)).status_code == 202
    api.database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert api.send(webhook(api.url)).status_code == 202


@pytest.mark.fault("E14")
def test_a_server_without_a_free_connection_is_a_503_until_it_has_one() -> None:
    with running_postgres() as postgres:
        _without_connections(postgres)


def _without_connections(postgres: Postgres) -> None:
    from cableway.errors import UnavailableError
    from cableway.settings import DatabaseSettings
    from cableway_handlers.api.hooks import HookDesk

    conninfo = postgres.conninfo()
    stored = Database(conninfo)
    stored.add_pipeline()
    stored.add_hook("orders", "env:ORDERS_SECRET")
    stored.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 1")
    stored.execute("GRANT ALL ON SCHEMA cableway TO few")
    stored.execute("GRANT ALL ON ALL TABLES IN SCHEMA cableway TO few")
    few = conninfo.replace("postgres@", "few@")

    async def ask() -> None:
        desk = HookDesk(DatabaseSettings(url=few))
        with psycopg.connect(few):
            with pytest.raises(UnavailableError):
                await desk.find_hook("orders")
        # The server notices a moment later that the other has left.
        until = time.monotonic() + 10
        while True:
            try:
                assert await desk.find_hook("orders") is not None
                break
            except UnavailableError:
                assert time.monotonic() < until
        await desk.close()

    asyncio.run(ask())


@pytest.mark.promise("P24")
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("53100", marks=pytest.mark.fault("C14"), id="full"),
        pytest.param("25006", marks=pytest.mark.fault("C13"), id="only-reads"),
    ],
)
def test_a_server_that_takes_no_rows_for_a_while_is_a_503_until_it_does(api: Api, code: str) -> None:
    api.database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'no room in /var/lib' USING ERRCODE = '{code}'; END $$"
    )
    api.database.execute("CREATE TRIGGER refuse BEFORE INSERT ON cableway.runs EXECUTE FUNCTION refuse()")
    asked = [
        api.send(webhook(api.url)),
        api.client.post("/runs", json={"pipeline": "orders"}),
    ]
    for refused in asked:
        assert_problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert "/var/lib" not in refused.text
    assert api.database.rows("SELECT count(*) FROM cableway.runs") == [{"count": 0}]
    api.database.execute("DROP TRIGGER refuse ON cableway.runs")
    assert api.send(webhook(api.url)).status_code == 202
    assert api.client.post("/runs", json={"pipeline": "orders"}).status_code == 202


@pytest.mark.fault("E10")
def test_slow_senders_are_cut_off_and_hold_nobody_up(api: Api) -> None:
    address = httpx.URL(api.url)
    slow = [socket.create_connection((address.host, address.port or 0), timeout=20) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(HEAD.encode() + b"Content-Length: 100\r\n\r\n{")
        times: list[float] = []
        for _ in range(20):
            began = time.monotonic()
            assert api.send(webhook(api.url)).status_code == 202
            times.append(time.monotonic() - began)
        assert median(times) < 1
        for connection in slow:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.fault("E8")
def test_an_unknown_hook_takes_as_long_as_a_wrong_signature(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is done, and not by the clock, which tells little on a busy machine: the same digests."""
    digests: list[int] = []

    def counted(key: bytes, content: bytes, algorithm: str) -> bytes:
        digests.append(len(content))
        return hmac.new(key, content, algorithm).digest()

    lengths: list[list[int]] = []
    for request in (webhook(api.url, secret=b"x" * 24, id="m"), webhook(api.url, hook="nobody", id="m")):
        digests.clear()
        with monkeypatch.context() as patched:
            patched.setattr(hmac, "digest", counted)
            assert api.send(request).status_code == 401
        lengths.append(list(digests))
    assert lengths[0] == lengths[1] != []


@pytest.mark.fault("E8")
def test_nor_does_the_clock_tell_them_apart(api: Api) -> None:
    """One after the other, so that whatever else the machine does befalls both alike."""
    took: list[list[float]] = [[], []]
    for _ in range(80):
        for times, hook, secret in zip(took, ("orders", "nobody"), (b"x" * 24, b"x" * 24), strict=True):
            request = webhook(api.url, hook=hook, secret=secret)
            began = time.perf_counter()
            assert api.send(request).status_code == 401
            times.append(time.perf_counter() - began)
    differences = [there - nowhere for there, nowhere in zip(*took, strict=True)]
    assert abs(median(differences)) < 0.25 * median(took[0])


@pytest.mark.fault("E9")
@pytest.mark.fault("E22")
@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        ("Content-Length: 1048577\r\n", {b"413"}),
        ("Content-Length: 99999999999999999999999999\r\n", {b"413", b"400"}),
        ("Content-Length: -1\r\n", {b"400", b"413"}),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", {b"400", b"401", b"408"}),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", {b"400"}),
        ("Content-Encoding: gzip\r\nContent-Length: 3\r\n", {b"415"}),
        ("X-A: a\rb\r\nContent-Length: 3\r\n", {b"400", b"401"}),
    ],
)
def test_requests_that_lie_about_themselves_are_refused(api: Api, head: str, statuses: set[bytes]) -> None:
    address = httpx.URL(api.url)
    with socket.create_connection((address.host, address.port or 0), timeout=20) as connection:
        connection.sendall(f"{HEAD}{head}\r\n".encode() + b"{} ")
        answer = connection.recv(65_536)
    assert answer[9:12] in statuses, answer
    assert api.database.rows("SELECT count(*) FROM cableway.runs") == [{"count": 0}]
