"""
What a file ten times as large costs in memory: the job's highest, for 1 GB of CSV and for 100 MB.

The job is the whole process as a container runs it, claimed from Postgres, with ``csv_loader`` in batches and
behind it a bloc that lets every table go. Beside it stands the same with a table that is replaced.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psycopg

from benchmarks import _csv_data, _verdict
from benchmarks._loads import timed
from benchmarks._processes import compile_byte_code, environment
from cableway.embedded import embedded_postgres
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage

SMALL_ROWS, LARGE_ROWS = 1_000_000, 10_000_000
TARGET = 1.1
ENDS = {
    "dropped": {"name": "end", "bloc_type": "select", "config": {"columns": ["id"]}},
    "stored": {"name": "end", "bloc_type": "postgres_exporter", "config": {"table_name": "target"}},
}


def main() -> None:
    compile_byte_code()
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(Path(folder) / "postgres") as url:
            peaks = {rows: peaks_of(rows, Path(folder), url) for rows in (SMALL_ROWS, LARGE_ROWS)}
    figures: dict[str, float] = {
        f"{end}_mb_of_{rows}_rows": round(peak) for rows, ends in peaks.items() for end, peak in ends.items()
    }
    ratios = {f"{end}_ratio": round(peaks[LARGE_ROWS][end] / peaks[SMALL_ROWS][end], 2) for end in ENDS}
    met = all(ratio <= TARGET for ratio in ratios.values())
    _verdict.say("load_memory", figures | ratios, dict.fromkeys(ratios, TARGET), met=met)


def peaks_of(rows: int, folder: Path, url: str) -> dict[str, float]:
    """The most memory that the job took for *rows* rows, by what stands at its end, in MB."""
    file = folder / f"{rows}.csv"
    _csv_data.write(file, rows)
    found: dict[str, float] = {}
    for name, end in ENDS.items():
        load = {"name": "load", "bloc_type": "csv_loader", "config": {"file_path": str(file), "batch_size": 20_000}}
        stages = [{"name": "load", "blocs": [load]}, {"name": "end", "queue_size": 2, "blocs": [end]}]
        with DatabaseStorage(DatabaseSettings(url=url)) as storage:
            storage.save_pipeline({"name": name, "stages": stages})
            run_id = storage.record_run(RunRequest(pipeline=name)).run_id
        found[name] = timed([sys.executable, "-m", "cableway", run_id], environment(DATABASE_URL=url)).peak_mb
    file.unlink()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE target")
    return found


if __name__ == "__main__":
    main()
