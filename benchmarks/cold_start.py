"""
What a container's start costs: the whole process of a one-stage pipeline that does nothing.

Measured against the least that any job on Postgres must do: a Python that imports psycopg, connects and
asks for 1. Both run in turn against one running Postgres, with byte code compiled, as it is in the image.
The figures are medians; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import _verdict
from benchmarks._processes import CONNECT, Cost, compile_byte_code, cost, environment
from cableway.embedded import embedded_postgres
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage

PAIRS = 30
WARM_UP = 3
TARGET = 1.8
PIPELINE = {"name": "noop", "stages": [{"name": "only", "blocs": [{"name": "nothing", "bloc_type": "pass_through"}]}]}


def main() -> None:
    compile_byte_code()
    with tempfile.TemporaryDirectory(prefix="cableway-bench-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as another user
        with embedded_postgres(Path(folder) / "postgres") as url:
            pairs = measured(url)
    figures = summary(pairs)
    _verdict.say("cold_start", figures, {"ratio": TARGET}, met=figures["ratio"] <= TARGET)


def summary(pairs: Sequence[tuple[Cost, Cost]]) -> dict[str, float]:
    return {
        "ratio": round(median(job.wall_s / base.wall_s for base, job in pairs), 2),
        "ratio_of_cpu_time": round(median(job.cpu_s / base.cpu_s for base, job in pairs), 2),
        "ratio_of_the_fastest": round(min(job.wall_s for _, job in pairs) / min(base.wall_s for base, _ in pairs), 2),
        "job_ms": round(median(job.wall_s for _, job in pairs) * 1000, 1),
        "base_ms": round(median(base.wall_s for base, _ in pairs) * 1000, 1),
        "pairs": len(pairs),
    }


def measured(url: str) -> list[tuple[Cost, Cost]]:
    """What the base and the job cost, pair by pair."""
    with DatabaseStorage(DatabaseSettings(url=url)) as storage:
        storage.save_pipeline(PIPELINE)
        runs = [storage.record_run(RunRequest(pipeline="noop")).run_id for _ in range(PAIRS + WARM_UP)]
    variables = environment(DATABASE_URL=url)
    base, job = [sys.executable, "-c", CONNECT], [sys.executable, "-m", "cableway"]
    pairs = [(cost(base, variables), cost([*job, run_id], variables)) for run_id in runs]
    return pairs[WARM_UP:]


if __name__ == "__main__":
    main()
