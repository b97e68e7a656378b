"""A job that hardly gets a processor keeps its lease all the same."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.faults.process import Processes, last_line, query, until
from tests.integration.faults.test_signals import record
from tests.integration.job.process import State
from tests.unit.job.running import bloc, stage

PERIOD_S = 0.1
"""What a cgroup counts by, too."""


def throttle(pid: int, share: float, over: threading.Event) -> None:
    """Let *pid* run for *share* of the time, as a cgroup's quota does."""
    with suppress(ProcessLookupError):
        while not over.wait(PERIOD_S * share):
            os.kill(pid, signal.SIGSTOP)
            over.wait(PERIOD_S * (1 - share))
            os.kill(pid, signal.SIGCONT)


@pytest.mark.chaos
@pytest.mark.promise("P17")
@pytest.mark.fault("H7")
def test_heartbeats_hold_at_a_tenth_of_a_processor(stored: State, processes: Processes, tmp_path: Path) -> None:
    go = tmp_path / "go"
    busy = bloc("spin_until_file", path=str(go))
    run_id = record(stored, stage(bloc("numbers", batch_size=1)), stage(busy, workers=2), lease_ttl_s=6)
    process = processes.start(run_id, stored.url)
    renewed: set[object] = set()

    def beaten(times: int) -> bool:
        renewed.update(query(stored.url, "SELECT lease_expires_at FROM cableway.runs WHERE state = 'running'"))
        return len(renewed) > times

    until(lambda: beaten(1))
    over = threading.Event()
    throttling = threading.Thread(target=throttle, args=(process.pid, 0.1, over))
    throttling.start()
    try:
        until(lambda: beaten(4), "it did not beat any more")
        go.touch()
    finally:
        over.set()
        throttling.join()
    assert (last_line(process)["attempt"], process.returncode) == (1, 0)
