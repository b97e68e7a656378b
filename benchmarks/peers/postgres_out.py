"""
A table of Postgres into a file: ``cableway`` by a whole job, ``read_sql`` as a DataFrame that is written then.

Arguments: which of the two, kind, URL, path. Prints seconds without those for starting and importing, on the clock
and of the processor, and the highest resident size in MB. What is imported is what the way at hand uses.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

BATCH_ROWS = 10_000


def main() -> None:
    way, kind, url, path = sys.argv[1:]
    seconds, cpu_s = cableway(kind, url, path) if way == "cableway" else read_sql(kind, url, path)
    print(json.dumps({"s": seconds, "cpu_s": cpu_s, "mb": peak_mb()}))


def peak_mb() -> float:
    """The process's own: what `resource` says counts what its parent held too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def cableway(kind: str, url: str, path: str) -> tuple[float, float]:
    from cableway.job import JobRequest, run_job

    for name in ("psycopg", "pyarrow.csv", f"pyarrow.{kind}", "cableway.checks", "cableway.flow.lanes.thread"):
        import_module(name)
    exporter = "csv_files.exporter" if kind == "csv" else "parquet_exporter"
    for name in (exporter, "postgres.loader", "postgres.reading"):
        import_module(f"cableway.blocs.{name}")
    load = {"table_name": "flights", "batch_size": BATCH_ROWS}
    stages = [
        {"name": "in", "blocs": [{"name": "load", "bloc_type": "postgres_loader", "config": load}]},
        {
            "name": "out",
            "queue_size": 2,
            "blocs": [{"name": "store", "bloc_type": f"{kind}_exporter", "config": {"file_path": Path(path).name}}],
        },
    ]
    document = Path(f"{path}.json")
    document.write_text(json.dumps({"name": "out", "stages": stages}))
    variables = {**os.environ, "DATABASE_URL": url, "CABLEWAY_FILE_ROOT": str(Path(path).parent)}
    began, worked = time.perf_counter(), time.process_time()
    code = run_job(JobRequest(file=str(document)), variables)
    if code:
        sys.exit(code)
    return time.perf_counter() - began, time.process_time() - worked


def read_sql(kind: str, url: str, path: str) -> tuple[float, float]:
    pd: Any = import_module("pandas")
    if kind == "parquet":
        import_module("pyarrow.parquet")  # else it loads while the time runs
    engine = import_module("sqlalchemy").create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    began, worked = time.perf_counter(), time.process_time()
    frame = pd.read_sql("SELECT * FROM flights", engine)
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return time.perf_counter() - began, time.process_time() - worked


if __name__ == "__main__":
    main()
