"""From a signed webhook to the record of its run: `cableway serve`, the local launcher and the job, as they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.integration.api.conftest import Database
from tests.integration.api.sending import SECRET_TEXT, webhook
from tests.integration.api.serving import NO_TLS

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
COMMAND = "import sys; from cableway_handlers.cli import main; sys.exit(main())"
# A run tells whoever listens that its state has changed, so that the test need not ask again and again.
TELL = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('runs', NEW.run_id || ' ' || NEW.state); RETURN NEW; END $$;
CREATE TRIGGER tell AFTER UPDATE OF state ON cableway.runs FOR EACH ROW EXECUTE FUNCTION tell()
"""


class Served:
    """`cableway serve` in a folder of its own."""

    def __init__(self, database: Database, folder: Path) -> None:
        environment = {**os.environ, "DATABASE_URL": database.conninfo, "ORDERS_SECRET": SECRET_TEXT}
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "serve", "--port", "0"],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        lines = iter(self.process.stderr.readline, "")
        self.url = next(line.split()[-1] for line in lines if line.startswith("listening on "))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def stored(database: str, tmp_path: Path) -> Database:
    (tmp_path / "data.csv").write_text("a,b\n1,x\n2,y\n")
    stored = Database(database)
    stored.add_pipeline()
    stored.add_hook("orders", "env:ORDERS_SECRET")
    stored.execute(TELL)
    return stored


@pytest.fixture
def served(stored: Database, tmp_path: Path) -> Iterator[Served]:
    served = Served(stored, tmp_path)
    yield served
    served.close()


class Listener:
    """Hears of every change of state, in order, and forgets none between two questions."""

    def __init__(self, notices: Iterator[psycopg.Notify], folder: Path) -> None:
        self._notices = notices
        self._folder = folder

    def wait_for(self, run_id: str, state: str) -> None:
        for notice in self._notices:
            if notice.payload == f"{run_id} {state}":
                return
        logs = [log.read_text() for log in (self._folder / ".cableway" / "launches").glob("*.log")]
        raise AssertionError(f"{run_id} was not {state} in time; its job said: {logs}")


@pytest.fixture
def runs(stored: Database, tmp_path: Path) -> Iterator[Listener]:
    with psycopg.connect(stored.conninfo, autocommit=True) as connection:
        connection.execute("LISTEN runs")
        # What it has received and not given goes when it is closed, so one serves the whole test.
        with closing(connection.notifies(timeout=50)) as notices:
            yield Listener(notices, tmp_path)


def test_a_signed_webhook_runs_its_pipeline_under_the_callers_trace(
    served: Served, stored: Database, runs: Listener
) -> None:
    request = webhook(served.url, traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01")
    with httpx.Client(timeout=30, trust_env=False, verify=NO_TLS) as client:
        response = client.send(request)
        assert response.status_code == 202
        run_id = response.json()["run_id"]
        runs.wait_for(run_id, "succeeded")
        shown = client.get(f"{served.url}{response.headers['location']}").json()
        explained = client.get(f"{served.url}{response.headers['location']}/explanation").json()
    assert (shown["state"], shown["attempt"], shown["exit_code"], shown["trace_id"]) == ("succeeded", 1, 0, TRACE_ID)
    assert shown["parameters"]["day"] == "2026-01-31"
    assert (explained["run_id"], explained["attempt"], explained["bottleneck"]) == (run_id, 1, "load")
    assert explained["start_s"] < explained["wall_s"]
    (spans,) = stored.rows("SELECT count(*) AS count, array_agg(DISTINCT trace_id) AS traces FROM cableway.spans")
    assert spans["count"] > 0
    assert spans["traces"] == [TRACE_ID]


@pytest.mark.promise("P4")
def test_a_job_outlives_the_service_that_started_it(served: Served, stored: Database, runs: Listener) -> None:
    with httpx.Client(timeout=30, trust_env=False, verify=NO_TLS) as client:
        run_id = client.send(webhook(served.url)).json()["run_id"]
    runs.wait_for(run_id, "running")
    served.process.kill()
    runs.wait_for(run_id, "succeeded")
    assert stored.rows("SELECT count(*) FROM cableway.attempts") == [{"count": 1}]


def test_sigterm_ends_the_service(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(20) in {0, -signal.SIGTERM, 143}
