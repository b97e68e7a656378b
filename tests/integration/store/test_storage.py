from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cableway.definition import DOCUMENT_FORMAT
from cableway.errors import DefinitionError, SettingsError, UnknownPipelineError
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings, Settings
from cableway.storage import DatabaseStorage, SavedVersion
from tests.fixtures.state import pipeline, store_version
from tests.integration.store.conftest import STAGES, document


@pytest.mark.usefixtures("blocs")
def test_a_trigger_then_a_pipeline_of_stored_blocs(storage: DatabaseStorage) -> None:
    storage.create_trigger("every_hour", "numbers", "0 * * * *")
    saved = storage.create_pipeline("numbers", stages=STAGES, description="two ways")
    assert saved == SavedVersion(name="numbers", version=1, created=True)
    assert [row.name for row in storage.list_blocs()] == ["double", "read", "triple", "write"]
    assert [(row.name, row.version, row.description) for row in storage.list_pipelines()] == [
        ("numbers", 1, "two ways")
    ]
    assert [(row.name, row.pipeline, row.expression) for row in storage.list_triggers()] == [
        ("every_hour", "numbers", "0 * * * *")
    ]
    version = storage.get_pipeline("numbers")
    assert (version.name, version.checked) == ("numbers", True)
    assert [[bloc.name for bloc in stage.blocs] for stage in version.definition.stages] == STAGES
    assert version.definition.stages[1].blocs[1].config["factor"] == 3
    assert version.source["stages"] == STAGES
    assert version.definition.content_hash() == version.content_hash


@pytest.mark.usefixtures("blocs")
def test_saving_makes_a_version_where_something_has_changed(storage: DatabaseStorage) -> None:
    assert storage.save_pipeline(document()).created
    assert not storage.save_pipeline(document()).created
    assert not storage.save_pipeline(storage.get_pipeline("numbers").definition).created
    changed = storage.save_pipeline(document(description="new"), author="ada", note="why")
    assert (changed.version, changed.created) == (2, True)
    assert storage.get_pipeline("numbers").note == "why"
    assert storage.get_pipeline("numbers", 1).definition.description == ""
    with pytest.raises(UnknownPipelineError, match="version 3"):
        storage.get_pipeline("numbers", 3)


@pytest.mark.usefixtures("blocs")
def test_those_who_save_at_once_make_one_version_each(storage: DatabaseStorage, state: DatabaseSettings) -> None:
    def save(number: int) -> int:
        with DatabaseStorage(state) as own:
            return own.save_pipeline(document(description=str(number // 2))).version

    with ThreadPoolExecutor(6) as threads:
        versions = list(threads.map(save, range(6)))
    assert set(versions) >= {1, 2, 3}
    assert max(versions) == storage.get_pipeline("numbers").version


def test_a_version_that_was_not_checked_becomes_checked(storage: DatabaseStorage) -> None:
    storage.save_pipeline(pipeline())
    connection = storage.session.connection()
    connection.execute("UPDATE cableway.pipeline_versions SET document_format = 0")
    assert not storage.get_pipeline("flights").checked
    assert not storage.save_pipeline(pipeline()).created
    formats = connection.execute("SELECT document_format FROM cableway.pipeline_versions").fetchall()
    assert formats == [{"document_format": DOCUMENT_FORMAT}]


@pytest.mark.usefixtures("blocs")
@pytest.mark.parametrize(
    "wrong",
    [
        document(stages=[["read"], ["nobody"]]),
        document(name=" "),
        document(name="x" * 200),
        document(name="a\x00"),
        document(description="\ud800"),
        document(parameters={"x": {"type": "integer", "default": "one"}}),
        {},
    ],
)
def test_no_faulty_pipeline_is_stored(storage: DatabaseStorage, wrong: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        storage.save_pipeline(wrong)
    assert storage.list_pipelines() == ()


@pytest.mark.parametrize(
    ("bloc_type", "config"), [("csv_loader", {}), ("nothing", {}), ("csv_loader", {"file_path": "x", "more": 1})]
)
def test_no_faulty_bloc_is_stored(storage: DatabaseStorage, bloc_type: str, config: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        storage.create_bloc("b", bloc_type, config)
    assert storage.list_blocs() == ()


@pytest.mark.parametrize(("kind", "expression"), [("cron", None), ("webhook", "* * * * *"), ("moon", None)])
def test_no_faulty_trigger_is_stored(storage: DatabaseStorage, kind: str, expression: str | None) -> None:
    with pytest.raises(DefinitionError, match="trigger"):
        storage.create_trigger("t", "numbers", expression, kind=kind)
    assert storage.list_triggers() == ()


@pytest.mark.usefixtures("blocs")
def test_a_name_that_is_taken_is_not_taken_again(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES)
    storage.create_trigger("hook", "numbers", kind="webhook", config={"secrets": ["env:HOOK"]})
    for again in (
        lambda: storage.create_pipeline("numbers", STAGES),
        lambda: storage.create_bloc("read", "csv_loader", config={"file_path": "other.csv"}),
        lambda: storage.create_trigger("hook", "other", kind="webhook", config={"secrets": ["env:HOOK"]}),
    ):
        with pytest.raises(DefinitionError, match="there already"):
            again()
    assert storage.get_bloc("read").config == {"file_path": "data.csv"}
    assert storage.get_trigger("hook").config == {"secrets": ["env:HOOK"]}


def test_what_is_not_there_is_named(storage: DatabaseStorage) -> None:
    with pytest.raises(UnknownPipelineError, match="'none'"):
        storage.get_pipeline("none")
    for get in (storage.get_bloc, storage.get_trigger):
        with pytest.raises(DefinitionError, match="'none'"):
            get("none")


def test_runs_can_be_read(storage: DatabaseStorage) -> None:
    store_version(storage.session, pipeline())
    run_id = storage.record_run(RunRequest(pipeline="flights")).run_id
    assert [run.run_id for run in storage.list_runs()] == [run_id]
    assert storage.get_run(run_id).stages == ()
    assert storage.list_dead_letters(run_id) == ()
    assert storage.list_spans(run_id) == ()


def test_it_says_whether_the_database_is_there(storage: DatabaseStorage) -> None:
    assert storage.check_connection()
    away = DatabaseSettings(host="127.0.0.1", port=1, name="x", user="x")
    assert not DatabaseStorage(away).check_connection()
    with pytest.raises(SettingsError):
        DatabaseStorage.from_settings(Settings())
