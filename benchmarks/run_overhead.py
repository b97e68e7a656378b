"""
What a run costs beside its work: whole processes that do nothing, each with the record its system keeps.

Ours claims a lease, beats, and writes run, attempt and stages; th2etl builds its pipeline from Postgres and
keeps a run's row; DBOS records a workflow in Postgres; Dagster runs in process; Prefect starts its own server;
luigi keeps a marker file alone. All take turns against one running Postgres with byte code compiled; the shares
are medians over the rounds of our wall time by theirs. Beside them stand the least that any job on Postgres
must do (connect, select 1) and a Python that does nothing.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks import _peers, _verdict
from benchmarks._processes import CONNECT, compile_byte_code, cost, environment
from cableway.embedded import embedded_postgres
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage

ROUNDS = 9
PREFECT_EVERY = 3
"""It takes ten seconds and more, so it runs in every third round."""
TARGETS = {"of_dagster": 0.25, "of_th2etl": 0.3, "of_prefect": 0.07, "of_dbos": 0.5, "of_connect": 1.9}
PEERS = ("th2etl", "luigi", "dbos", "dagster", "prefect")
PIPELINE = {"name": "noop", "stages": [{"name": "only", "blocs": [{"name": "nothing", "bloc_type": "pass_through"}]}]}


def main() -> None:
    compile_byte_code()
    peers = {name: _peers.interpreter(f"overhead_{name}") for name in PEERS}
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(Path(folder) / "postgres") as url:
            seconds = measured(url, peers, folder)
    figures = summary(seconds)
    met = all(figures[name] <= limit for name, limit in TARGETS.items())
    _verdict.say("run_overhead", figures, TARGETS, met=met)


def measured(url: str, peers: Mapping[str, Path], folder: str) -> list[dict[str, float]]:
    """Seconds by system, one mapping a round; a round before the first warms up and does not count."""
    variables = prepared(url, folder)
    scripts = _peers.HERE / "peers"
    commands = {name: [str(python), str(scripts / f"overhead_{name}.py")] for name, python in peers.items()}
    commands["python"] = [sys.executable, "-c", "pass"]
    commands["connect"] = [sys.executable, "-c", CONNECT]
    cost([*commands["th2etl"], "prepare"], variables)
    rounds: list[dict[str, float]] = []
    for number in range(ROUNDS + 1):
        turn = {name: command for name, command in commands.items() if name != "prefect" or number % PREFECT_EVERY == 0}
        turn["cableway"] = [sys.executable, "-m", "cableway", recorded(url)]
        rounds.append({name: cost(command, variables).wall_s for name, command in turn.items()})
    return rounds[1:]


def prepared(url: str, folder: str) -> dict[str, str]:
    """The environment of all; the databases and tables that they need are there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE dbos")
    with DatabaseStorage(DatabaseSettings(url=url)) as storage:
        storage.save_pipeline(PIPELINE)
    named = conninfo_to_dict(url)
    return environment(
        DATABASE_URL=url,
        # th2etl asks for these whatever the address says.
        DATABASE_NAME=str(named["dbname"]),
        DATABASE_USER=str(named["user"]),
        DATABASE_HOST=str(named["host"]),
        DATABASE_PASSWORD="none",  # noqa: S106 - the server trusts its socket
        API_KEY="none",
        OVERHEAD_URL=url.replace("/postgres?", "/dbos?"),
        OVERHEAD_FOLDER=folder,
        PREFECT_HOME=f"{folder}/prefect",
        DO_NOT_TRACK="1",
    )


def recorded(url: str) -> str:
    with DatabaseStorage(DatabaseSettings(url=url)) as storage:
        return storage.record_run(RunRequest(pipeline="noop")).run_id


def summary(rounds: list[dict[str, float]]) -> dict[str, float]:
    def share(other: str) -> float:
        return round(median(each["cableway"] / each[other] for each in rounds if other in each), 3)

    shares = {f"of_{name}": share(name) for name in ("dagster", "th2etl", "prefect", "dbos", "luigi", "connect")}
    names = [*rounds[0], "prefect"]
    milliseconds = {
        f"{name}_ms": round(median(each[name] for each in rounds if name in each) * 1000, 1)
        for name in dict.fromkeys(names)
    }
    times_python = round(median(each["cableway"] / each["python"] for each in rounds), 1)
    return {**shares, "times_python": times_python, **milliseconds, "rounds": len(rounds)}


if __name__ == "__main__":
    main()
