"""
Out of Postgres: 500,000 rows of eight columns into a Parquet file and into a CSV file, by the whole job.

Against pandas.read_sql with to_parquet and to_csv. Every measurement is a process of its own, ours and the peer's in
turn against one running Postgres, timed without its start and imports; memory is its highest resident size.
The figures are medians. The last line is one JSON object.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

import psycopg
from psycopg.sql import SQL, Literal

from benchmarks import _peers, _verdict
from benchmarks._processes import compile_byte_code
from cableway.blocs.tables import library
from cableway.embedded import embedded_postgres

SCRIPT = Path(__file__).resolve().parent / "peers" / "postgres_out.py"
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
    ways = {"cableway": Path(sys.executable), "read_sql": peer}
    costs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way, python in ways.items():
            path = folder / f"{way}.{kind}"
            cost = _peers.run(python, SCRIPT, way, kind, url, str(path))
            if number:  # the first ones compile byte code
                costs[way].append(cost)
            if rows_in(kind, path) != ROWS:
                sys.exit(f"{path} does not hold {ROWS} rows")
    seconds = {way: median(cost["s"] for cost in taken) for way, taken in costs.items()}
    worked = {way: median(cost["cpu_s"] for cost in taken) for way, taken in costs.items()}
    memory = {way: median(cost["mb"] for cost in taken) for way, taken in costs.items()}
    for way in ways:
        rate = ROWS / seconds[way]
        of_processor = f"{worked[way]:6.2f} s of processor"
        print(f"{kind:8} {way:9} {seconds[way]:6.2f} s  {of_processor}  {rate:9,.0f} rows/s  {memory[way]:6.0f} MB")
    return {
        f"{kind}_times": seconds["read_sql"] / seconds["cableway"],
        f"{kind}_cpu_times": worked["read_sql"] / worked["cableway"],
        f"{kind}_memory": memory["cableway"] / memory["read_sql"],
        f"{kind}_s": seconds["cableway"],
        f"{kind}_mb": memory["cableway"],
    }


def rows_in(kind: str, path: Path) -> int:
    """How many rows the file holds."""
    if kind == "parquet":
        return int(library("pyarrow.parquet").ParquetFile(path).metadata.num_rows)
    return int(library("pyarrow.csv").read_csv(path).num_rows)


if __name__ == "__main__":
    main()
