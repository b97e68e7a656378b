"""
What a Lambda's cold start imports: our handler, against FastAPI, Mangum and psycopg alone.

New processes in turn, with byte code compiled; the ratio is the median of the pairs' ratios of processor time, which a
busy machine blurs less than the clock. The handler is all that a webhook and an event need. The REST resources
load when they are first asked for, and their figure stands beside it: it is no target.
"""

from __future__ import annotations

import compileall
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import fastapi
import mangum
import psycopg

import cableway
import cableway_handlers
from benchmarks import _verdict

PAIRS = 15
WARM_UP = 2
TARGET = 1.15
BASE = "import fastapi, mangum, psycopg"
OURS = "import cableway_handlers.aws_lambda"
WHOLE = "import cableway_handlers.aws_lambda, cableway_handlers.api.app, cableway_handlers.api.database"


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a process took: by the clock, and of the processor."""

    wall_s: float
    cpu_s: float


def main() -> None:
    for package in (cableway, cableway_handlers, fastapi, mangum, psycopg):
        compileall.compile_dir(package.__path__[0], quiet=2)
    rounds = [(cost(BASE), cost(OURS), cost(WHOLE)) for _ in range(PAIRS + WARM_UP)][WARM_UP:]
    figures = {
        "ratio": ratio([(base.cpu_s, ours.cpu_s) for base, ours, _ in rounds]),
        "ratio_by_the_clock": ratio([(base.wall_s, ours.wall_s) for base, ours, _ in rounds]),
        "ratio_with_the_resources": ratio([(base.cpu_s, whole.cpu_s) for base, _, whole in rounds]),
        "base_ms": round(median(base.cpu_s for base, _, _ in rounds) * 1000, 1),
        "handler_ms": round(median(ours.cpu_s for _, ours, _ in rounds) * 1000, 1),
        "pairs": PAIRS,
    }
    _verdict.say("lambda_start", figures, {"ratio": TARGET}, met=figures["ratio"] <= TARGET)


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return round(median(ours / base for base, ours in pairs), 2)


def cost(code: str) -> Cost:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
