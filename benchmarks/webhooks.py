"""
Signed webhooks of 1 KiB, verified, de-duplicated and durable before the answer, against what anybody would write first.

64 connections, one worker, a launcher that only records; the peer is a plain FastAPI handler on a psycopg pool that
inserts a row for each request. Both are served by uvicorn with uvloop and httptools, ours in one write for an answer as
`cableway serve` does, in turn, over one Postgres that syncs each commit, on the machine that sends as well, and both
prepare the statements that come again.
Then, under load, the API and Postgres are killed in the middle: each webhook that was answered must have its run, and
all are sent once more, so that a run that was made twice would show.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks import _peers, _verdict
from cableway.embedded import embedded_postgres
from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage

HERE = Path(__file__).resolve().parent
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"  # noqa: S105 - of nobody
ROUNDS = 5
ROUND_S = 4.0
MOST = 80_000
CRASH_S = 8.0
RECOVERY_S = 30.0
CRASH_MOST = 20_000
TARGETS = {"ratio": 3.0, "p99_ratio": 1.0, "lost": 0, "doubled": 0}
PIPELINE = {
    "name": "orders",
    "parameters": {"day": {}, "count": {"type": "integer"}, "text": {}},
    "stages": [["nothing"]],
    "blocs": {"nothing": {"bloc_type": "pass_through"}},
    "triggers": {"orders": {"kind": "webhook", "secrets": ["env:ORDERS_SECRET"]}},
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        place = Path(folder)
        place.chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(place / "postgres") as url:
            prepare(url)
            rounds = [(measured("plain", url, number), measured("ours", url, number)) for number in range(ROUNDS)]
            crash = crashed(url, place / "postgres" / "postgres")
    figures = summary(rounds, crash)
    met = (
        figures["ratio"] >= TARGETS["ratio"]
        and figures["p99_ratio"] <= TARGETS["p99_ratio"]
        and figures["lost"] == figures["doubled"] == 0
        and figures["others"] == 0
    )
    _verdict.say("webhooks", figures, TARGETS, met=met)


def summary(rounds: list[tuple[dict[str, Any], dict[str, Any]]], crash: dict[str, Any]) -> dict[str, Any]:
    middle = {
        f"{name}_{figure}": round(median(pair[side][figure] for pair in rounds), 2)
        for side, name in enumerate(("plain", "ours"))
        for figure in ("per_s", "p50_ms", "p99_ms")
    }
    return {
        "ratio": round(median(ours["per_s"] / plain["per_s"] for plain, ours in rounds), 2),
        "p99_ratio": round(median(ours["p99_ms"] / plain["p99_ms"] for plain, ours in rounds), 2),
        **middle,
        "others": sum(
            count for pair in rounds for side in pair for code, count in side["statuses"].items() if code != "202"
        ),
        "rounds": len(rounds),
        **crash,
    }


def prepare(url: str) -> None:
    with DatabaseStorage(DatabaseSettings(url=url)) as storage:
        storage.save_pipeline(PIPELINE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE plain_webhooks (id bigserial PRIMARY KEY, webhook_id text, payload jsonb)")


def measured(kind: str, url: str, number: int) -> dict[str, Any]:
    """What *kind* answers in a round."""
    with server(kind, url) as (_, port):
        load(port, 0.5, 3000, first=number * 10_000_000)
        return load(port, ROUND_S, MOST, first=number * 10_000_000 + 1_000_000)


def load(port: int, seconds: float, most: int, *, first: int, named: bool = False) -> dict[str, Any]:
    arguments = [str(port), str(seconds), str(most), str(first), *(["named"] if named else [])]
    return _peers.run(sys.executable, HERE / "peers" / "webhook_load.py", *arguments)


@contextmanager
def server(kind: str, url: str) -> Generator[tuple[subprocess.Popen[str], int]]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"DATABASE_URL": url, "ORDERS_SECRET": SECRET}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.webhook_server", kind],
        cwd=HERE.parent,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    output = process.stdout
    if output is None:
        raise RuntimeError("a pipe was asked for")
    try:
        yield process, int(output.readline())
    finally:
        process.kill()
        process.wait()
        output.close()


def crashed(url: str, data: Path) -> dict[str, Any]:
    """Runs that are lost, and runs that are there twice, when both were killed under load."""
    first = 900_000_000
    arguments = [str(CRASH_S), str(CRASH_MOST), str(first), "named"]
    with server("ours", url) as (process, port):
        sender = subprocess.Popen(
            [sys.executable, str(HERE / "peers" / "webhook_load.py"), str(port), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        with psycopg.connect(url, autocommit=True) as connection:
            wait_for_runs(connection, 2000)
        process.kill()
        os.kill(int((data / "postmaster.pid").read_text().split("\n")[0]), signal.SIGKILL)
        answered = json.loads(sender.communicate(timeout=60)[0])
    with recovered(data.parent):
        with psycopg.connect(url) as connection:
            kept = runs(connection)
        with server("ours", url) as (_, port):
            again = load(port, 60, answered["sent"], first=first)
        with psycopg.connect(url) as connection:
            after = runs(connection)
    expected = [f"webhook:orders:msg_{number}" for number in answered["accepted"]]
    return {
        "answered_before_the_crash": len(expected),
        "lost": len(set(expected) - set(kept)),
        "doubled": len(after) - len(set(after)) + abs(len(after) - answered["sent"]),
        "answered_after_it": again["answered"],
    }


@contextmanager
def recovered(folder: Path) -> Generator[None]:
    """Postgres again, as soon as the last of the processes that were left without a parent is gone."""
    until_s = time.monotonic() + RECOVERY_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(embedded_postgres(folder))
                break
            except UnavailableError:
                if time.monotonic() > until_s:
                    raise
        yield


def wait_for_runs(connection: psycopg.Connection[Any], most: int) -> None:
    while len(runs(connection)) < most:
        pass


def runs(connection: psycopg.Connection[Any]) -> list[str]:
    """The keys of the crash's runs."""
    found = connection.execute("SELECT key FROM cableway.runs WHERE key LIKE 'webhook:orders:msg_9________'")
    return [row[0] for row in found]


if __name__ == "__main__":
    main()
