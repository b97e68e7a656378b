"""What a whole process costs: its wall time and its processor time, with byte code compiled, as it is in the image."""

from __future__ import annotations

import compileall
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

import cableway

CONNECT = "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']).execute('select 1').fetchone()"
"""The least that any job on Postgres must do, for ``python -c``."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that a process took: from start to end, and of the processor."""

    wall_s: float
    cpu_s: float


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run *command* to its end; raise `subprocess.CalledProcessError` where it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def environment(**more: str) -> dict[str, str]:
    """Ours with *more*, without what steers telemetry, Cableway, or byte code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CABLEWAY_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, **more}


def compile_byte_code() -> None:
    """As the image has it; what else a process loads is compiled by the first ones, which do not count."""
    for package in (cableway, psycopg):
        compileall.compile_dir(package.__path__[0], quiet=2)
