"""
Out of Postgres: 500,000 rows of eight columns into a Parquet file and into a CSV file, by the whole job.

Against pandas.read_sql with to_parquet and to_csv. Every measurement is a process of its own, from its start to its
end, ours and the peer's in turn against one running Postgres; memory is the process's highest resident size.
The figures are medians. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psycopg
from psycopg.sql import SQL, Literal

from benchmarks import _peers, _verdict
from benchmarks._processes import compile_byte_code, environment
from cableway.blocs.tables import library
from cableway.embedded import embedded_postgres

PEER = Path(__file__).resolve().parent / "peers" / "postgres_out.py"
ROWS, ROUNDS = 500_000, 5
TARGETS = {"parquet_times": 2.0, "parquet_memory": 1 / 3, "csv_times": 8.0}
MAKE = SQL("""
CREATE TABLE flights AS
SELECT n AS id, (n * 7919) % 100000 AS customer, round(random()::numeric * 1000, 2)::float8 AS amount, random() AS rate,
       random() < 0.5 AS paid, date '2000-01-01' + (n % 5000)::int AS day,
       timestamp '2020-01-01' + n * interval '13 seconds' AS at, 'note about item ' || (random() * 1e9)::bigint AS note
FROM generate_series(1::bigint, {}) AS n
""")


def main() -> None:
    compile_byte_code()
    peer = _peers.interpreter("tables")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(folder / "postgres") as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT setseed(0.5)")
                connection.execute(MAKE.format(Literal(ROWS)))
                connection.execute("VACUUM ANALYZE flights")
            for kind in ("parquet", "csv"):
                figures |= compared(kind, url, folder, peer)
    met = (
        figures["parquet_times"] >= TARGETS["parquet_times"]
        and figures["parquet_memory"] <= TARGETS["parquet_memory"]
        and figures["csv_times"] >= TARGETS["csv_times"]
    )
    _verdict.say("postgres_to_parquet", {key: round(value, 3) for key, value in figures.items()}, TARGETS, met=met)


def compared(kind: str, url: str, folder: Path, peer: Path) -> dict[str, float]:
    """How many times as fast our job is to *kind*, and which part of the memory it takes."""
    ours, theirs = folder / f"ours.{kind}", folder / f"theirs.{kind}"
    document = folder / f"{kind}.json"
    document.write_text(json.dumps(pipeline(kind, ours.name)))
    variables = environment(DATABASE_URL=url, CABLEWAY_FILE_ROOT=str(folder))
    job = [sys.executable, "-m", "cableway", "run", "--file", str(document)]
    plain = [str(peer), str(PEER), kind, url.replace("postgresql://", "postgresql+psycopg2://", 1)]
    plain += ["SELECT * FROM flights", str(theirs)]
    costs: dict[str, list[tuple[float, int]]] = {"ours": [], "theirs": []}
    for number in range(ROUNDS + 1):
        pair = {"ours": cost(job, variables), "theirs": cost(plain, variables)}
        if number:  # the first ones compile byte code
            for name, one in pair.items():
                costs[name].append(one)
    if rows_in(kind, ours) != ROWS or rows_in(kind, theirs) != ROWS:
        sys.exit(f"the {kind} files do not hold {ROWS} rows")
    seconds = {name: median(took for took, _ in taken) for name, taken in costs.items()}
    memory = {name: median(held for _, held in taken) for name, taken in costs.items()}
    for name, label in (("ours", "cableway"), ("theirs", "read_sql")):
        rate = ROWS / seconds[name]
        print(
            f"{kind:8} {label:9} {seconds[name]:6.2f} s  {rate:9,.0f} rows/s  {memory[name] / 1024:6.0f} MB", flush=True
        )
    return {
        f"{kind}_times": seconds["theirs"] / seconds["ours"],
        f"{kind}_memory": memory["ours"] / memory["theirs"],
        f"{kind}_s": seconds["ours"],
        f"{kind}_mb": memory["ours"] / 1024,
    }


def pipeline(kind: str, path: str) -> dict[str, object]:
    """A table into a file."""
    load = {"name": "load", "bloc_type": "postgres_loader", "config": {"table_name": "flights", "batch_size": 25_000}}
    store = {"name": "store", "bloc_type": f"{kind}_exporter", "config": {"file_path": path}}
    return {
        "name": "out",
        "stages": [
            {"name": "in", "blocs": [load], "queue_size": 2},
            {"name": "out", "blocs": [store], "queue_size": 2},
        ],
    }


def cost(command: Sequence[str], variables: Mapping[str, str]) -> tuple[float, int]:
    """Seconds, and KiB of memory at most."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=dict(variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = process.stdout.read() if process.stdout is not None else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:4]}: exit {process.returncode}\n{output[-2000:]}")
    return time.perf_counter() - began, used.ru_maxrss


def rows_in(kind: str, path: Path) -> int:
    """How many rows the file holds."""
    if kind == "parquet":
        return int(library("pyarrow.parquet").ParquetFile(path).metadata.num_rows)
    return int(library("pyarrow.csv").read_csv(path).num_rows)


if __name__ == "__main__":
    main()
