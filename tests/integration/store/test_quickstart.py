"""The calls of the service that Cableway comes from, in its order, under Cableway's names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from cableway import DatabaseStorage
from cableway.runs import RunRequest
from cableway.settings import get_settings

LOADER = ("numbers_loader", "csv_loader", {"file_path": "numbers.csv"})
TWICE = ("twice", "example_transformer", {"factor": 2})
THRICE = ("thrice", "example_transformer", {"factor": 3})
EXPORTER = ("numbers_exporter", "postgres_exporter", {"table_name": "numbers_out", "source_bloc": "twice"})
STAGES = [["numbers_loader"], ["twice", "thrice"], ["numbers_exporter"]]


@pytest.fixture(autouse=True, params=["parts", "url"])
def named(request: pytest.FixtureRequest, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is named in the environment, value by value or in one."""
    if request.param == "url":
        monkeypatch.setenv("DATABASE_URL", database)
    else:
        parts = conninfo_to_dict(database)
        monkeypatch.setenv("DATABASE_HOST", str(parts["host"]))
        monkeypatch.setenv("DATABASE_PORT", "5432")
        monkeypatch.setenv("DATABASE_NAME", str(parts["dbname"]))
        monkeypatch.setenv("DATABASE_USER", "postgres")
        monkeypatch.setenv("DATABASE_PASSWORD", "unused")


def names(rows: Any) -> list[str]:
    return [row.name for row in rows]


def test_a_quick_start_in_three_programs() -> None:
    """The trigger comes before the pipeline that it names, and each program connects anew."""
    s = get_settings()
    with DatabaseStorage.from_settings(s) as storage:
        for name, bloc_type, config in (LOADER, TWICE, THRICE, EXPORTER):
            storage.create_bloc(name, bloc_type, config=config)
    s = get_settings()
    with DatabaseStorage.from_settings(s) as storage:
        storage.create_trigger("hourly", "numbers", "0 * * * *")
    s = get_settings()
    with DatabaseStorage.from_settings(s) as storage:
        storage.create_pipeline("numbers", stages=STAGES)
        storage.create_scheduler("numbers_scheduler", "numbers", "hourly")
    with DatabaseStorage.from_settings(get_settings()) as storage:
        assert storage.check_connection()
        scheduler = storage.get_scheduler("numbers_scheduler")
        assert (scheduler.pipeline, scheduler.trigger_name, scheduler.timezone) == ("numbers", "hourly", "UTC")
        assert storage.record_run(RunRequest(pipeline=scheduler.pipeline)).created


def test_definitions_are_kept_in_one_program() -> None:
    settings = get_settings()
    with DatabaseStorage.from_settings(settings) as storage:
        storage.create_bloc("numbers_loader", "csv_loader", config={"file_path": "numbers.csv"})
        storage.create_bloc("twice", "example_transformer", config={"factor": 2})
        storage.create_bloc("thrice", "example_transformer", config={"factor": 3})
        storage.create_bloc(
            "numbers_exporter", "postgres_exporter", config={"table_name": "numbers_out", "source_bloc": "twice"}
        )
        storage.create_pipeline("numbers", stages=STAGES)
        storage.create_trigger("hourly", "numbers", "0 * * * *")
        storage.create_scheduler("numbers_scheduler", "numbers", "hourly")
        assert names(storage.list_pipelines()) == ["numbers"]
        assert names(storage.list_schedulers()) == ["numbers_scheduler"]
        assert names(storage.list_triggers()) == ["hourly"]
        assert names(storage.list_blocs()) == ["numbers_exporter", "numbers_loader", "thrice", "twice"]
        assert "name='numbers'" in str(storage.list_pipelines())


def test_everything_can_be_read_changed_and_deleted() -> None:
    with DatabaseStorage.from_settings(get_settings()) as storage:
        storage.create_bloc(*LOADER)
        storage.create_trigger("hourly", "numbers", "0 * * * *")
        storage.create_pipeline("numbers", [["numbers_loader"]])
        storage.create_scheduler("numbers_scheduler", "numbers", "hourly")

        assert storage.update_bloc("numbers_loader", config={"file_path": "other.csv"}).name == "numbers_loader"
        assert storage.update_pipeline("numbers", description="of numbers").version == 3
        assert storage.update_trigger("hourly", expression="5 * * * *").expression == "5 * * * *"
        assert storage.update_scheduler("numbers_scheduler", timezone="Europe/Berlin").timezone == "Europe/Berlin"

        assert storage.get_bloc("numbers_loader").config["file_path"] == "other.csv"
        assert storage.get_pipeline("numbers").definition.description == "of numbers"
        assert storage.get_trigger("hourly").pipeline == "numbers"
        assert storage.get_scheduler("numbers_scheduler").trigger_name == "hourly"

        storage.delete_scheduler("numbers_scheduler")
        storage.delete_trigger("hourly")
        storage.delete_pipeline("numbers")
        storage.delete_bloc("numbers_loader")
        for rows in (storage.list_blocs(), storage.list_triggers(), storage.list_schedulers()):
            assert rows == ()
        assert storage.list_pipelines()[0].archived_at is not None


def test_the_example_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "versions.md").read_text()
    (code,) = re.findall("```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "versions.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == [
        "replace /stages/0/blocs/0/config/file_path flights.csv 2013.csv",
        "replace /description  of 2013",
    ]
    with DatabaseStorage.from_settings(get_settings()) as storage:
        assert [(row.version, row.active) for row in storage.list_versions("flights")] == [
            (3, False),
            (2, True),
            (1, False),
        ]
