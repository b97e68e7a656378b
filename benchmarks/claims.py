"""
How fast runs are claimed: eight processes race for fifty thousand of them, on a Postgres that syncs its log.

Each process claims whatever run it believes to be free, in an order of its own, so that two meet now and then;
before that all eight claim the same runs at the same moment. A claim takes the lease and brings version, parameters
and cursor along, in one statement. Its rate is measured by that of eight processes that update and commit
one row each, by turns in the same run; the share is the median over the rounds.
"""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks import _verdict
from benchmarks._processes import compile_byte_code
from cableway.embedded import embedded_postgres
from cableway.runs import RecordedRun, RunRequest, record_many
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.port import Claimed
from cableway.store.postgres import PostgresRunStore

PROCESSES = 8
RUNS = 50_000
ROUNDS = 5
"""The runs are claimed in so many rounds, and as many rows are updated after each."""
AT_ONCE = 200
"""Runs that all processes claim at the same moment."""
GROUP = 1_000
TARGETS = {"of_update": 0.8, "double": 0}
PIPELINE = {
    "name": "raced",
    "stages": [{"name": "only", "blocs": [{"name": "nothing", "bloc_type": "pass_through"}]}],
    "settings": {"overlap": "allow"},
}
Ran = tuple[int, float, float]
"""How often a process won, and when it began and ended."""
CONTEXT = multiprocessing.get_context("spawn")


def main() -> None:
    compile_byte_code()
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(Path(folder) / "postgres") as url:
            figures = measured(url)
    met = figures["of_update"] >= TARGETS["of_update"] and figures["double"] == 0
    _verdict.say("claims", figures, TARGETS, met=met)


def measured(url: str) -> dict[str, float]:
    runs = recorded(url, AT_ONCE + RUNS)
    at_once = raced(url, claim_in_step, runs[:AT_ONCE])
    claims: list[float] = []
    updates: list[float] = []
    won = at_once.won
    share = RUNS // ROUNDS
    for number in range(ROUNDS):
        part = runs[AT_ONCE + number * share : AT_ONCE + (number + 1) * share]
        race = raced(url, claim_any, part)
        won += race.won
        claims.append(len(part) / race.seconds)
        updates.append(share / raced(url, update_rows, list(range(number * share, (number + 1) * share))).seconds)
    return {
        "claims_per_s": round(median(claims)),
        "updates_per_s": round(median(updates)),
        "of_update": round(median(mine / theirs for mine, theirs in zip(claims, updates, strict=True)), 3),
        "double": won - len(runs) + more_than_one_attempt(url),
    }


def recorded(url: str, count: int) -> list[str]:
    """The ids of so many new runs; beside them the rows to be updated."""
    with DatabaseStorage(DatabaseSettings(url=url, statement_timeout_s=0)) as storage:
        storage.save_pipeline(PIPELINE)
        ids: list[str] = []
        while len(ids) < count:
            wishes = [RunRequest(pipeline="raced")] * min(GROUP, count - len(ids))
            ids += [run.run_id for run in record_many(storage.session, wishes) if isinstance(run, RecordedRun)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE peer (id integer PRIMARY KEY, state text NOT NULL)")
        connection.execute("INSERT INTO peer SELECT n, 'queued' FROM generate_series(0, %s) AS n", [RUNS])
        connection.execute("VACUUM ANALYZE")
    return ids


def more_than_one_attempt(url: str) -> int:
    with psycopg.connect(url) as connection:
        (counted,) = connection.execute("SELECT count(*) FROM cableway.runs WHERE attempt > 1").fetchall()
    doubles: int = counted[0]
    return doubles


class Race:
    """What came of a race: how often somebody won, and how long it took from the first one's start to the last end."""

    def __init__(self, results: list[Ran]) -> None:
        self.won = sum(won for won, _, _ in results)
        self.seconds = max(ended for _, _, ended in results) - min(began for _, began, _ in results)


def raced(url: str, work: Callable[..., Ran], things: list[Any]) -> Race:
    """Let all processes *work* on *things* at the same time."""
    barrier = CONTEXT.Barrier(PROCESSES)
    taken = CONTEXT.Array("b", len(things), lock=False)
    results = CONTEXT.SimpleQueue()
    processes: list[SpawnProcess] = [
        CONTEXT.Process(target=runner, args=(url, work, things, number, barrier, taken, results))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    answers = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return Race(answers)


def runner(
    url: str, work: Callable[..., Ran], things: list[Any], number: int, barrier: Barrier, taken: Any, results: Any
) -> None:
    results.put(work(url, things, number, barrier, taken))


def claim_any(url: str, runs: list[str], number: int, barrier: Barrier, taken: Any) -> Ran:
    """Claim runs that nobody is known to have, in an order of one's own."""
    order = list(range(len(runs)))
    random.Random(number).shuffle(order)
    won = 0
    with closing(PostgresRunStore(DatabaseSettings(url=url, prepare_threshold=5))) as store:
        store.session.connection()
        barrier.wait()
        began = time.monotonic()
        for index in order:
            if not taken[index]:
                won += isinstance(store.claim(runs[index]), Claimed)
                taken[index] = 1
        ended = time.monotonic()
    return won, began, ended


def claim_in_step(url: str, runs: list[str], number: int, barrier: Barrier, taken: Any) -> Ran:
    """Claim each run at the same moment as all others."""
    del number, taken
    won = 0
    with closing(PostgresRunStore(DatabaseSettings(url=url))) as store:
        store.session.connection()
        began = time.monotonic()
        for run_id in runs:
            barrier.wait()
            won += isinstance(store.claim(run_id), Claimed)
        ended = time.monotonic()
    return won, began, ended


def update_rows(url: str, rows: list[int], number: int, barrier: Barrier, taken: Any) -> Ran:
    """Update one's share of the rows, one commit each."""
    del taken
    mine = rows[number::PROCESSES]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        barrier.wait()
        began = time.monotonic()
        for row in mine:
            connection.execute("UPDATE peer SET state = 'running' WHERE id = %s", [row])
        ended = time.monotonic()
    return len(mine), began, ended


if __name__ == "__main__":
    main()
