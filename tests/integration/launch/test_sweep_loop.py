"""The sweep as a thread: woken, told by Postgres, or by its interval; through an outage of the database."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic
from typing import Any

import pytest

from cableway.settings import DatabaseSettings
from cableway.store.port import RunState
from cableway_handlers.launch import Sweep, SweepLoop
from tests.fixtures.postgres import Postgres
from tests.integration.launch.conftest import Town

SOON_S = 20.0


@pytest.fixture
def looping(town: Town, state: DatabaseSettings) -> Iterator[Callable[..., SweepLoop]]:
    loops: list[SweepLoop] = []

    def start(**settings: Any) -> SweepLoop:
        loops.append(SweepLoop(Sweep(state, town.launcher), **settings))
        loops[-1].start()
        return loops[-1]

    yield start
    for loop in loops:
        loop.close()


def test_it_launches_when_it_is_woken(town: Town, looping: Callable[..., SweepLoop]) -> None:
    town.define(overlap="allow")
    loop = looping(interval_s=3600)
    for _ in range(3):
        run_id = town.record()
        loop.wake()
        assert town.launcher.launched.acquire(timeout=SOON_S)
        assert town.launcher.names[-1] == f"r-{run_id}-1"


@pytest.mark.promise("P5")
def test_what_nobody_said_is_found_within_the_interval(town: Town, looping: Callable[..., SweepLoop]) -> None:
    town.define()
    looping(interval_s=0.2)
    town.record()
    assert town.launcher.launched.acquire(timeout=SOON_S)


def test_the_end_of_a_run_starts_the_one_that_waits_for_its_place(
    town: Town, looping: Callable[..., SweepLoop]
) -> None:
    town.define()
    first, second = town.record(), town.record()
    looping(interval_s=3600)
    assert town.launcher.launched.acquire(timeout=SOON_S)
    town.finish(town.claim(first), RunState.SUCCEEDED)
    assert town.launcher.launched.acquire(timeout=SOON_S)
    assert town.launcher.names == [f"r-{first}-1", f"r-{second}-1"]


def test_a_run_that_waits_is_launched_at_its_time(town: Town, looping: Callable[..., SweepLoop]) -> None:
    town.define(attempts=2, backoff={"initial_s": 0.2, "factor": 1, "max_s": 1})
    run_id = town.record()
    loop = looping(interval_s=3600)
    assert town.launcher.launched.acquire(timeout=SOON_S)
    town.finish(town.claim(run_id), RunState.INTERRUPTED, 143)
    loop.wake()
    assert town.launcher.launched.acquire(timeout=SOON_S)
    assert town.launcher.names[-1] == f"r-{run_id}-2"


def test_it_goes_on_after_the_database_was_away(town: Town, looping: Callable[..., SweepLoop]) -> None:
    town.define()
    looping(interval_s=0.2)
    town.session.connection().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    town.record()
    assert town.launcher.launched.acquire(timeout=SOON_S)


RECORD_AND_DIE = """
import os, signal, sys
from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.store.session import Session
record_run(Session(DatabaseSettings(url=sys.argv[1])), RunRequest(pipeline="flights", key="tick"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.promise("P5")
@pytest.mark.fault("D2")
def test_a_recorder_killed_between_commit_and_launch_loses_nothing(
    town: Town, looping: Callable[..., SweepLoop], postgres: Postgres
) -> None:
    del postgres
    town.define()
    begun = monotonic()
    url = town.session.settings.url
    assert url is not None
    done = subprocess.run([sys.executable, "-c", RECORD_AND_DIE, url], check=False)
    assert done.returncode == -signal.SIGKILL
    with closing(town.sweep):
        looping(interval_s=0.5)
        assert town.launcher.launched.acquire(timeout=SOON_S)
    assert monotonic() - begun < 30
    assert len(town.launcher.names) == 1
