"""The calls of the quickstart: schedules as Python objects, over a real database and real processes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cableway import DatabaseStorage
from cableway.definition import BlocDefinition, PipelineDefinition, StageDefinition
from cableway.errors import DefinitionError, UnknownNameError
from cableway.settings import DatabaseSettings
from cableway_handlers.cron import (
    CronScheduler,
    CronTrigger,
    SchedulerManager,
    load_scheduler_manager,
    schedule_pipeline,
)

DUE = b"UPDATE cableway.schedulers SET decided_to = now() - interval '1 hour', next_at = now()"


@pytest.fixture
def place(state: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatabaseSettings:
    """A folder with data, and a database that the environment names."""
    assert state.url is not None
    monkeypatch.setenv("DATABASE_URL", state.url)
    monkeypatch.setenv("CABLEWAY_LOCAL_SPANS", "0")
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("a\n1\n2\n")
    return state


def numbers(name: str = "numbers") -> PipelineDefinition:
    load = BlocDefinition(name="rows", bloc_type="csv_loader", config={"file_path": "data.csv"})
    return PipelineDefinition(name=name, stages=(StageDefinition(name="load", blocs=(load,)),))


def ended(storage: DatabaseStorage, number: int) -> list[str]:
    """The states of the runs once so many have ended."""
    deadline = time.monotonic() + 40
    while True:
        rows = storage.list_runs()
        if len(rows) >= number and all(row.ended_at for row in rows):
            return [row.state for row in rows]
        assert time.monotonic() < deadline, [row.state for row in rows]
        threading.Event().wait(0.05)


def test_a_pipeline_can_be_run_once_now(place: DatabaseSettings) -> None:
    scheduler = CronScheduler(numbers(), CronTrigger("*/5 * * * *"))
    details = scheduler.run_once()
    assert (details.run.state, details.run.scheduler_name, details.run.version) == ("succeeded", "numbers", 1)


def test_schedulers_run_side_by_side_and_their_ticks_become_runs(place: DatabaseSettings) -> None:
    manager = SchedulerManager([
        CronScheduler(numbers(), CronTrigger("0 * * * *"), name="hourly_pipeline"),
        CronScheduler(numbers("others"), CronTrigger("*/5 * * * *", "Europe/Paris"), name="five_minute_pipeline"),
    ])  # fmt: skip
    manager.start()
    try:
        assert manager.is_running
        with DatabaseStorage(place) as storage:
            rows = {row.name: row for row in storage.list_schedulers()}
            assert [scheduler.name for scheduler in manager.schedulers] == ["hourly_pipeline", "five_minute_pipeline"]
            assert (rows["five_minute_pipeline"].timezone, rows["hourly_pipeline"].timezone) == ("Europe/Paris", "UTC")
            storage.session.connection().execute(DUE)
            storage.session.rows("tell_change")
            assert ended(storage, 2) == ["succeeded", "succeeded"]
    finally:
        manager.stop()
    assert not manager.is_running


def test_what_is_started_again_unchanged_makes_no_new_version(place: DatabaseSettings) -> None:
    for expression in ("0 * * * *", "0 * * * *", "30 * * * *"):
        scheduler = schedule_pipeline(numbers(), expression)
        scheduler.start()
        scheduler.stop()
    with DatabaseStorage(place) as storage:
        assert [entry.version for entry in storage.list_versions("numbers")] == [1]
        assert storage.get_trigger("numbers").expression == "30 * * * *"
        assert storage.get_trigger("numbers").revision == 2


def test_stored_schedulers_are_loaded_and_need_their_storage_no_more(place: DatabaseSettings) -> None:
    with DatabaseStorage(place) as storage:
        storage.create_trigger("every_hour", "numbers", "0 * * * *")
        storage.save_pipeline(numbers())
        storage.create_scheduler("example_scheduler", "numbers", "every_hour")
        manager = load_scheduler_manager(storage)
        with pytest.raises(UnknownNameError):
            load_scheduler_manager(storage, ["nobody"])
    assert [scheduler.name for scheduler in manager.schedulers] == ["example_scheduler"]
    manager.start()
    try:
        with DatabaseStorage(place) as storage:
            storage.session.connection().execute(DUE)
            storage.session.rows("tell_change")
            assert ended(storage, 1) == ["succeeded"]
    finally:
        manager.stop()


@pytest.mark.parametrize(
    ("expression", "zone"), [("0 0 31 2 *", "UTC"), ("R R * * *", "UTC"), ("0 0 * * *", "Nowhere")]
)
def test_a_rule_that_is_none_is_refused_where_it_is_written(expression: str, zone: str) -> None:
    with pytest.raises(DefinitionError):
        CronTrigger(expression, zone)
