"""Postgres crashes again and again under runs at work: each ends once, with the rows of one clean run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cableway.catalog import Catalog
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests.fixtures.postgres import Postgres, running_postgres
from tests.integration.faults.process import query
from tests.integration.job.process import environment, job

ROWS = 60
BLOCS = "tests.integration.job.line_blocs"


def record(url: str, file: Path, runs: int) -> list[str]:
    load = {"file_path": str(file), "batch_size": 2}
    stages: list[dict[str, Any]] = [
        {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": load}]},
        {
            "name": "store",
            "retry": {"attempts": 3, "initial_s": 0.2},
            "blocs": [
                {
                    "name": "out",
                    "bloc_type": "postgres_exporter",
                    "config": {"table_name": "t", "if_exists": "append"},
                }
            ],
        },
    ]
    settings = {"attempts": 30, "lease_ttl_s": 2, "backoff": {"initial_s": 0}, "overlap": "allow", "max_errors": 0}
    with DatabaseStorage(DatabaseSettings(url=url), catalog=Catalog((BLOCS,))) as storage:
        storage.save_pipeline({"name": "p", "stages": stages, "settings": settings})
        return [storage.record_run(RunRequest(pipeline="p", key=f"{number}")).run_id for number in range(runs)]


def to_the_end(url: str, run_id: str) -> int:
    """How many attempts it took; those that the crashes cost are made again."""
    for attempts in range(1, 1000):
        env = environment(url, CABLEWAY_BLOCS=BLOCS, CABLEWAY_CHECKPOINT_S="0.1", DATABASE_CONNECT_BUDGET_S="20")
        ended = job(run_id, env=env)
        assert ended.code in {0, 3, 69, 75}, ended.err
        if ended.code == 0 and ended.last["state"] in {"succeeded", "failed"}:
            return attempts
    raise AssertionError("it never ended")


def crash_until(server: Postgres, over: threading.Event, pause_s: Callable[[int], float]) -> int:
    """Crash the server after each pause and start it again; how often."""
    crashes = 0
    while not over.wait(pause_s(crashes)):
        server.stop("immediate")
        server.start()
        crashes += 1
    return crashes


def crash_under_load(tmp_path: Path, runs: int, pause_s: Callable[[int], float], for_s: float = 0.0) -> int:
    """How often it crashed under rounds of *runs*, at least one and as many as begin in that time."""
    file = tmp_path / "rows.csv"
    file.write_text("id\n" + "".join(f"{number}\n" for number in range(ROWS)))
    crashes, rounds, over_at = 0, 0, time.monotonic() + for_s
    with running_postgres() as server:
        url = server.conninfo()
        query(url, "CREATE TABLE t (id int)")
        while not rounds or time.monotonic() < over_at:
            rounds += 1
            run_ids = record(url, file, runs * rounds)[-runs:]
            over = threading.Event()
            with ThreadPoolExecutor(runs + 1) as pool:
                crashing = pool.submit(crash_until, server, over, pause_s)
                try:
                    list(pool.map(to_the_end, [url] * len(run_ids), run_ids))
                finally:
                    over.set()
                crashes += crashing.result()
        with psycopg.connect(url) as connection:
            states = connection.execute("SELECT DISTINCT state FROM cableway.runs").fetchall()
            counts = connection.execute("SELECT id, count(*) FROM t GROUP BY id ORDER BY id").fetchall()
    assert states == [("succeeded",)]
    assert counts == [(number, runs * rounds) for number in range(ROWS)]
    return crashes


@pytest.mark.promise("P19")
@pytest.mark.fault("C3")
def test_a_crash_under_two_runs(tmp_path: Path) -> None:
    crash_under_load(tmp_path, 2, lambda crashes: 60 if crashes else 1)


@pytest.mark.chaos
@pytest.mark.promise("P19")
@pytest.mark.fault("C3")
@pytest.mark.timeout(3600)
def test_crashes_for_ten_minutes(tmp_path: Path) -> None:
    crashes = crash_under_load(tmp_path, 4, lambda crashes: 1.5 + crashes * 7 % 35, for_s=600)
    assert crashes > 5
