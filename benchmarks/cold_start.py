"""
What a container's start costs: the whole process of a one-stage pipeline that does nothing.

Measured against the least that any job on Postgres must do: a Python that imports psycopg, connects and
asks for 1. Both run in turn against one running Postgres, with byte code compiled, as it is in the image.
The figures are medians; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import compileall
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

import cableway
from cableway.embedded import embedded_postgres
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage

PAIRS = 30
WARM_UP = 3
TARGET = 1.8
BASE = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']).execute('select 1').fetchone()"
PIPELINE = {"name": "noop", "stages": [{"name": "only", "blocs": [{"name": "nothing", "bloc_type": "pass_through"}]}]}


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a process took: from start to end, and of the processor."""

    wall_s: float
    cpu_s: float


def main() -> None:
    compile_byte_code()
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(Path(folder) / "postgres") as url:
            pairs = measured(url)
    print(json.dumps(summary(pairs)))


def summary(pairs: Sequence[tuple[Cost, Cost]]) -> dict[str, object]:
    ratio = round(median(job.wall_s / base.wall_s for base, job in pairs), 2)
    figures = {
        "ratio": ratio,
        "ratio_of_cpu_time": round(median(job.cpu_s / base.cpu_s for base, job in pairs), 2),
        "ratio_of_the_fastest": round(min(job.wall_s for _, job in pairs) / min(base.wall_s for base, _ in pairs), 2),
        "job_ms": round(median(job.wall_s for _, job in pairs) * 1000, 1),
        "base_ms": round(median(base.wall_s for base, _ in pairs) * 1000, 1),
        "pairs": len(pairs),
    }
    return {"benchmark": "cold_start", "figures": figures, "targets": {"ratio": TARGET}, "met": ratio <= TARGET}


def compile_byte_code() -> None:
    """As the image has it; what else either process loads is compiled by the first pairs, which do not count."""
    for package in (cableway, psycopg):
        compileall.compile_dir(package.__path__[0], quiet=2)


def measured(url: str) -> list[tuple[Cost, Cost]]:
    """What the base and the job cost, pair by pair."""
    with DatabaseStorage(DatabaseSettings(url=url)) as storage:
        storage.save_pipeline(PIPELINE)
        runs = [storage.record_run(RunRequest(pipeline="noop")).run_id for _ in range(PAIRS + WARM_UP)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CABLEWAY_"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["DATABASE_URL"] = url
    base, job = [sys.executable, "-c", BASE], [sys.executable, "-m", "cableway"]
    pairs = [(cost(base, environment), cost([*job, run_id], environment)) for run_id in runs]
    return pairs[WARM_UP:]


def cost(command: list[str], environment: dict[str, str]) -> Cost:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
