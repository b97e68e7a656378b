"""
The stack of `infra/compose.yaml`, as far as it is ours: an event goes in; rows, a record and one trace come out.

Its Postgres is one from the embedded wheel and its collector is the strict receiver of the tests, because no
registry can be reached here; `compose/override.yaml` puts them in. The rest is as it stands.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cableway_handlers.client import CablewayClient
from tests import need
from tests.fixtures.collector import Collector
from tests.fixtures.image import BASE
from tests.integration.api.sending import SECRET_TEXT, webhook

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "compose"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
PATIENCE_S = 120.0
ENDED = {"succeeded", "completed_with_errors", "failed", "cancelled", "timed_out", "crashed"}
STAGES = [
    [{"name": "rows", "bloc_type": "csv_loader", "config": {"file_path": "/data/data.csv", "batch_size": 1}}],
    [{"name": "doubled", "bloc_type": "example_transformer", "config": {"factor": 2, "source_bloc": "rows"}}],
    [
        {
            "name": "out",
            "bloc_type": "postgres_exporter",
            "config": {"table_name": "doubled", "source_bloc": "doubled", "if_exists": "append"},
        }
    ],
]

pytestmark = pytest.mark.timeout(1500)


class Stack:
    """The services under podman-compose, between `up` and `down`."""

    def __init__(self, collector: Collector) -> None:
        self.collector = collector
        self.port, self.postgres_port = free_port(), free_port()
        self._environment = {
            **os.environ,
            "COMPOSE_TEST_FOLDER": str(FOLDER),
            "CABLEWAY_PORT": str(self.port),
            "POSTGRES_PORT": str(self.postgres_port),
            "OTLP_ENDPOINT": collector.url,
            "ORDERS_SECRET": SECRET_TEXT,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        self.compose("up", "--detach", "--build", "postgres", "cableway")
        until = time.monotonic() + PATIENCE_S
        while not self._is_ready():
            assert time.monotonic() < until, self.compose("logs", "cableway")

    def down(self) -> None:
        self.compose("down", "--timeout", "5", "--volumes")

    def key(self) -> str:
        return self.inside("cat", "admin.key").strip()

    def inside(self, *command: str) -> str:
        return self.compose("exec", "-T", "cableway", *command)

    def rows(self, query: str) -> list[Any]:
        url = f"postgresql://cableway:cableway@127.0.0.1:{self.postgres_port}/cableway"
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    def compose(self, *arguments: str) -> str:
        files = ["-f", str(ROOT / "infra" / "compose.yaml"), "-f", str(FOLDER / "override.yaml")]
        tool = [str(Path(sys.executable).with_name("uv")), "tool", "run", "--quiet", "podman-compose"]
        done = subprocess.run(
            [*tool, "-p", "cableway-test", *files, *arguments],
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    podman = need.tool("podman")
    if subprocess.run([podman, "image", "exists", BASE], check=False).returncode != 0:
        need.missing(f"needs the image {BASE}")
    with ExitStack() as ends:
        collector = Collector()
        ends.callback(collector.close)
        stack = Stack(collector)
        ends.callback(stack.down)
        stack.up()
        yield stack
    assert collector.faults == []


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[CablewayClient]:
    """The API with the key that the stack has made, and the pipeline."""
    stack.inside("sh", "-c", "printf 'a,b\\n1,x\\n2,y\\n3,z\\n' > /data/data.csv")
    with CablewayClient(stack.url, stack.key()) as client:
        client.create_pipeline("orders", STAGES, parameters={"day": {"type": "string", "default": "today"}})
        client.create_trigger("orders", "orders", kind="webhook", config={"secrets": ["env:ORDERS_SECRET"]})
        yield client


def ended(client: CablewayClient, run_id: str) -> Any:
    """The run when it has ended."""
    until = time.monotonic() + PATIENCE_S
    while (run := client.get_run(run_id))["state"] not in ENDED:
        assert time.monotonic() < until, run
    return run


def spans_of(collector: Collector, trace_id: str) -> list[Any]:
    """The trace as it was received, once its root is there."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = [span for span in collector.spans if span.trace_id.hex() == trace_id]
        if any(span.name == "run orders" for span in found):
            return found
        assert time.monotonic() < until, [span.name for span in found]
        collector.received.clear()
        collector.received.wait(1)


def assert_whole(spans: list[Any]) -> Any:
    """The root, below which there are three items and the work of each stage."""
    (root,) = [span for span in spans if span.name == "run orders"]
    ids = {span.span_id for span in spans}
    assert all(span.parent_span_id in ids for span in spans if span is not root)
    names = [span.name for span in spans]
    assert names.count("item") >= 3
    assert len({name for name in names if name.startswith("work ")}) >= 2
    return root


def test_a_signed_webhook_goes_through_under_its_callers_trace(stack: Stack, client: CablewayClient) -> None:
    assert httpx.get(f"{stack.url}/runs", timeout=20, trust_env=False).status_code == 401
    sent = webhook(stack.url, traceparent=f"00-{TRACE_ID}-{CALLER}-01")
    with httpx.Client(timeout=30, trust_env=False) as sender:
        response = sender.send(sent)
    assert response.status_code == 202, response.text
    run = ended(client, response.json()["run_id"])
    assert (run["state"], run["trigger_name"], run["trace_id"]) == ("succeeded", "orders", TRACE_ID), run["error"]
    assert run["parameters"] == {"day": "2026-01-31"}
    assert (run["rows_out"], len(run["attempts"]), run["exit_code"]) == (3, 1, 0)
    assert sorted(stack.rows("SELECT a FROM doubled")) == [(2,), (4,), (6,)]
    root = assert_whole(spans_of(stack.collector, TRACE_ID))
    assert root.parent_span_id.hex() == CALLER


def test_a_tick_goes_through_too(stack: Stack, client: CablewayClient) -> None:
    before = stack.rows("SELECT count(*) FROM doubled")[0][0]
    client.create_trigger("minutely", "orders", "* * * * *")
    client.create_scheduler("minutely", "orders", "minutely")
    until = time.monotonic() + PATIENCE_S
    while not (runs := client.list_runs(scheduler="minutely")):
        assert time.monotonic() < until, client.list_ticks("minutely")
    client.delete_scheduler("minutely")
    run = ended(client, runs[-1]["run_id"])
    assert (run["state"], run["scheduler_name"]) == ("succeeded", "minutely"), run["error"]
    assert run["scheduled_at"] is not None
    assert run["scheduled_at"].endswith(":00Z")
    assert stack.rows("SELECT count(*) FROM doubled")[0][0] >= before + 3
    assert run["trace_id"] is not None
    root = assert_whole(spans_of(stack.collector, run["trace_id"]))
    assert root.parent_span_id == b""


def test_the_last_line_of_each_job_is_its_record(stack: Stack, client: CablewayClient) -> None:
    run = client.list_runs(trigger="orders")[0]
    log = stack.inside("cat", f".cableway/launches/r-{run['run_id']}-1.log")
    last = json.loads(log.splitlines()[-1])
    assert (last["run_id"], last["state"]) == (run["run_id"], "succeeded")
