"""Jobs as processes that something befalls while they run."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import psycopg

from tests.integration.job.process import Ended, State, command, environment

BLOCS = "tests.unit.job.blocs,tests.integration.faults.blocs,tests.integration.faults.hanging"
SOON_S = 40.0
"""Seconds that are enough for anything on a busy machine."""


class Processes:
    """The jobs that a test has started."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, run_id: str, url: str, *, popen: Any = None, **variables: str) -> subprocess.Popen[str]:
        """Start an attempt at *run_id*; *popen* goes to `subprocess.Popen`."""
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **(popen or {})}
        env = environment(url, **{"CABLEWAY_BLOCS": BLOCS, **variables})
        process = subprocess.Popen(command(run_id), env=env, **given)
        self._started.append(process)
        return process

    def at(self, run_id: str, url: str, failpoint: str, **variables: str) -> subprocess.Popen[str]:
        """Start an attempt to which *failpoint* happens."""
        return self.start(run_id, url, CABLEWAY_FAILPOINT=failpoint, CABLEWAY_TESTING="1", **variables)

    def end(self) -> None:
        """Kill what is left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()


def ended(process: subprocess.Popen[str], timeout_s: float = SOON_S) -> Ended:
    """How *process* ends."""
    out, err = process.communicate(timeout=timeout_s)
    return Ended(process.returncode, out, err)


def last_line(process: subprocess.Popen[str]) -> Any:
    return json.loads(ended(process).out.splitlines()[-1])


def until(holds: Callable[[], object], what: str = "it never came to pass") -> None:
    """Look until *holds*; for what nobody tells us of."""
    by = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < by, what
        time.sleep(0.02)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def runs(stored: State, condition: str) -> bool:
    return bool(query(stored.url, f"SELECT 1 FROM cableway.runs WHERE {condition}"))


def is_stopped(pid: int) -> bool:
    """Whether SIGSTOP has come to *pid*."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - as short as can be
        return file.read().rpartition(")")[2].split()[0] == "T"
