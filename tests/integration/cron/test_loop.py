from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.session import Session
from cableway_handlers.cron.loop import TickLoop
from cableway_handlers.cron.metrics import provide
from cableway_handlers.cron.ticking import decide_due
from cableway_handlers.launch.protocol import Launch, LaunchState, LaunchStatus
from cableway_handlers.launch.sweep import Sweep
from tests.fixtures.postgres import running_postgres
from tests.integration.cron.conftest import Schedules

NEVER_S = 3600.0


class Fired:
    """Waits until something has fired."""

    def __init__(self) -> None:
        self._fired = threading.Semaphore(0)

    def __call__(self) -> None:
        self._fired.release()

    def wait(self) -> None:
        assert self._fired.acquire(timeout=20)

    def happened(self) -> bool:
        return self._fired.acquire(blocking=False)


def until(true: Any) -> None:
    """Poll, for what tells nobody that it has happened."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.fixture
def fired() -> Fired:
    return Fired()


@pytest.fixture
def loop(schedules: Schedules, fired: Fired) -> Iterator[TickLoop]:
    with TickLoop(schedules.storage.session.settings, on_fired=fired, poll_s=NEVER_S) as loop:
        until(lambda: loop.is_up)
        yield loop


def test_a_change_is_picked_up_at_once(schedules: Schedules, loop: TickLoop, fired: Fired) -> None:
    schedules.add()
    schedules.make_due()
    schedules.tell()
    fired.wait()
    assert schedules.runs() == 1


def test_it_wakes_when_something_is_due(schedules: Schedules, loop: TickLoop, fired: Fired) -> None:
    schedules.add()
    schedules.make_due(in_s=0.3)
    before = time.monotonic()
    schedules.tell()
    fired.wait()
    assert 0.2 < time.monotonic() - before < 10


def test_what_nobody_tells_is_found_by_looking(schedules: Schedules, fired: Fired) -> None:
    with TickLoop(schedules.storage.session.settings, on_fired=fired, poll_s=0.05):
        schedules.add()
        schedules.make_due()
        fired.wait()
    assert schedules.runs() == 1


def test_it_keeps_to_the_names_that_it_is_given(schedules: Schedules, fired: Fired) -> None:
    for name in ("mine", "theirs"):
        schedules.add(name)
        schedules.make_due(name)
    with TickLoop(schedules.storage.session.settings, on_fired=fired, names=["mine"], poll_s=0.05):
        fired.wait()
    assert [row.scheduler_name for row in schedules.storage.list_runs()] == ["mine"]


@pytest.mark.promise("P1")
@pytest.mark.fault("D1")
def test_several_loops_make_each_run_once(schedules: Schedules, fired: Fired) -> None:
    settings = schedules.storage.session.settings
    loops = [TickLoop(settings, on_fired=fired, poll_s=0.05) for _ in range(3)]
    for loop in loops:
        loop.start()
    try:
        for number in range(10):
            schedules.add(f"scheduler {number}")
            schedules.make_due(f"scheduler {number}")
        until(lambda: schedules.runs() >= 10)
    finally:
        for loop in loops:
            loop.stop()
            loop.close()
    assert schedules.runs() == 10


@pytest.mark.promise("P9")
@pytest.mark.fault("D5")
@pytest.mark.parametrize("skew_s", [-86_400.0, -3600.0, 3600.0, 10 * 366 * 86_400.0])
def test_a_wrong_clock_of_its_own_is_told_and_decides_nothing(
    schedules: Schedules, fired: Fired, caplog: pytest.LogCaptureFixture, skew_s: float
) -> None:
    schedules.add()
    settings = schedules.storage.session.settings
    with (
        caplog.at_level(logging.WARNING, "cableway.scheduler"),
        TickLoop(settings, on_fired=fired, poll_s=0.05, clock=lambda: time.time() + skew_s) as loop,
    ):
        until(lambda: loop.is_up)
        assert not fired.happened()
        schedules.make_due()
        fired.wait()
        assert abs(loop.metrics.skew_s - skew_s) < 5
    assert schedules.runs() == 1
    assert [record.message.startswith("this machine's clock is") for record in caplog.records] == [True]


def test_it_survives_losing_its_connection(schedules: Schedules, loop: TickLoop, fired: Fired) -> None:
    others = b"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    for _ in range(3):
        schedules.storage.session.connection().execute(others)
    schedules.add("after")
    schedules.make_due("after")
    schedules.tell()
    fired.wait()


def test_it_outlives_a_restart_of_the_database(fired: Fired, caplog: pytest.LogCaptureFixture) -> None:
    with running_postgres() as server:
        settings = DatabaseSettings(url=server.conninfo(), connect_budget_s=10)
        with DatabaseStorage(settings) as storage:
            storage.create_trigger("hourly", "nothing", "0 * * * *")
        with TickLoop(settings, on_fired=fired, poll_s=0.05) as loop:
            until(lambda: loop.is_up)
            server.stop("immediate")
            until(lambda: not loop.is_up)
            server.start()
            until(lambda: loop.is_up)


@pytest.mark.fault("D2")
@pytest.mark.fault("D3")
def test_what_was_decided_and_not_launched_the_sweep_launches_once(schedules: Schedules) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.names: list[str] = []

        def launch(self, launch: Launch) -> str:
            self.names.append(launch.name)
            return launch.name

        def status(self, external_id: str) -> LaunchStatus:
            return LaunchStatus(LaunchState.STARTING)

        def stop(self, external_id: str, *, grace_s: float = 30.0) -> None:
            raise AssertionError

    schedules.add()
    schedules.make_due()
    settings = schedules.storage.session.settings
    session = Session(settings)
    assert sum(len(decided.fired) for decided in decide_due(session)) == 1
    session.close()  # the scheduler is gone
    recorder = Recorder()
    for _ in range(2):
        sweep = Sweep(settings, recorder)
        sweep.once()
        sweep.close()
    assert len(recorder.names) == 1


@pytest.mark.fault("D12")
def test_its_metrics_can_be_read(schedules: Schedules, loop: TickLoop, fired: Fired) -> None:
    reader = InMemoryMetricReader()
    provider = provide(loop.metrics, reader)
    schedules.add()
    schedules.add("rotten")
    schedules.storage.session.connection().execute(
        b"UPDATE cableway.triggers SET expression = 'x' WHERE name = 'rotten'"
    )
    schedules.make_due("rotten")
    schedules.make_due()
    schedules.tell()
    fired.wait()
    until(lambda: loop.metrics.faulty)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {metric.name: metric.data for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    values: dict[str, list[Any]] = {
        name: [getattr(point, "value", None) for point in each.data_points] for name, each in metrics.items()
    }
    assert sum(values["cableway.scheduler.ticks"]) == 1
    assert values["cableway.scheduler.faulty"] == [1]
    assert len(values["cableway.scheduler.clock.skew"]) == 1
    assert len(values["cableway.scheduler.lag"]) == 2
    provider.shutdown()
