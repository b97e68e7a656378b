"""What no definition may hold is refused before it reaches the database, and odd names are names like others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cableway.errors import DefinitionError
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests.integration.store.conftest import STAGES, document


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: dict[str, Any] = {
    "not a number": float("nan"),
    "infinity": float("-inf"),
    "1e400000": float("1e400000"),
    "NUL": "a\x00b",
    "half a character": "\ud800",
    "many digits": 10**5000,
    "20k levels": nested(20_000),
    "a type of its own": object(),
    "bytes": b"x",
    "a key that is no text": {1: "x"},
    "a key with a NUL": {"a\x00": 1},
}
NAMES = [
    'a"b; DROP TABLE cableway.runs;--',
    "it's",
    "100%s",
    "ü" * 100,
    "名前",
    "select",
    "{schema}",
]
NO_NAMES = ["", " x", "x ", "a\x00b", "a/b", "\ud800", "a\nb", "\u202ertl", "x" * 101, "\u2028", None, 5]


def everything(storage: DatabaseStorage) -> list[Any]:
    """All that is stored."""
    tables = ("blocs", "pipelines", "pipeline_versions", "triggers", "schedulers")
    connection = storage.session.connection()
    return [connection.execute(f"SELECT * FROM cableway.{table} ORDER BY 1".encode()).fetchall() for table in tables]


Change = Callable[[DatabaseStorage, Any], object]

CHANGES: dict[str, Change] = {
    "create_bloc": lambda storage, value: storage.create_bloc("x", "csv_loader", {"file_path": value}),
    "update_bloc": lambda storage, value: storage.update_bloc("read", config={"file_path": "x", "more": value}),
    "create_pipeline": lambda storage, value: storage.create_pipeline("x", STAGES, description=value),
    "update_pipeline": lambda storage, value: storage.update_pipeline("numbers", parameters={"p": {"default": value}}),
    "save_pipeline": lambda storage, value: storage.save_pipeline(document(settings=value)),
    "create_trigger": lambda storage, value: storage.create_trigger("x", "p", kind="event", config={"a": [value]}),
    "update_trigger": lambda storage, value: storage.update_trigger("hourly", config={"deep": {"er": value}}),
    "create_scheduler": lambda storage, value: storage.create_scheduler("x", "p", "hourly", parameters={"p": value}),
    "update_scheduler": lambda storage, value: storage.update_scheduler("s", parameters={"p": value}),
}


@pytest.fixture
def stored(storage: DatabaseStorage, blocs: None) -> list[Any]:
    storage.create_trigger("hourly", "numbers", "0 * * * *")
    storage.create_pipeline("numbers", STAGES)
    storage.create_scheduler("s", "numbers", "hourly")
    return everything(storage)


@pytest.mark.promise("P22")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_json_or_postgres_cannot_hold_is_refused(
    storage: DatabaseStorage, stored: list[Any], change: Change
) -> None:
    for what, value in HOSTILE.items():
        with pytest.raises(DefinitionError) as caught:
            change(storage, value)
        assert caught.value.faults, what
        assert caught.value.problem()["status"] == 422, what
        assert len(str(caught.value)) < 2000, what
    assert everything(storage) == stored


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
def test_what_is_no_name_names_nothing(storage: DatabaseStorage, stored: list[Any], name: Any) -> None:
    for change in (
        lambda: storage.create_bloc(name, "csv_loader", {"file_path": "x"}),
        lambda: storage.create_pipeline(name, STAGES),
        lambda: storage.create_trigger(name, "numbers", "0 * * * *"),
        lambda: storage.create_trigger("t", name, "0 * * * *"),
        lambda: storage.create_scheduler(name, "numbers", "hourly"),
        lambda: storage.create_scheduler("t", name, "hourly"),
        lambda: storage.create_scheduler("t", "numbers", name),
    ):
        with pytest.raises(DefinitionError) as caught:
            change()
        assert caught.value.faults
    assert everything(storage) == stored


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "?", "a\ufffdb"])
def test_a_name_that_cannot_be_kept_finds_nobody_elses(storage: DatabaseStorage, name: str) -> None:
    for like in ("a\ufffdb", "?"):
        if like != name:
            storage.create_bloc(like, "csv_loader", {"file_path": "x"})
            storage.create_trigger(like, "numbers", "0 * * * *")
    uses: list[Callable[[str], object]] = [
        *(storage.get_bloc, storage.delete_bloc, storage.get_trigger, storage.delete_trigger),
        *(storage.get_scheduler, storage.delete_scheduler, storage.get_pipeline, storage.delete_pipeline),
    ]
    for use in uses:
        with pytest.raises(DefinitionError, match="no "):
            use(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_is_a_name(storage: DatabaseStorage, name: str) -> None:
    storage.create_bloc(name, "csv_loader", {"file_path": name})
    storage.create_pipeline(name, [[name]])
    storage.create_trigger(name, name, "0 * * * *")
    storage.create_scheduler(name, name, name, pause_note=name)
    storage.update_bloc(name, config={"file_path": "other.csv"})
    storage.update_pipeline(name, description=name)
    assert storage.get_bloc(name).name == name
    assert [row.version for row in storage.list_versions(name)] == [3, 2, 1]
    assert storage.get_scheduler(name).pause_note == name
    assert storage.record_run(RunRequest(pipeline=name)).created
    storage.delete_scheduler(name)
    storage.delete_trigger(name)
    storage.delete_pipeline(name)
    storage.delete_bloc(name)


def test_odd_names_change_nothing_but_rows(database: str) -> None:
    """In a schema whose own name is odd."""
    with DatabaseStorage(DatabaseSettings(url=database, schema='we"ird; DROP SCHEMA public;--')) as storage:
        catalog = "SELECT relname, relkind FROM pg_class WHERE relnamespace > 16384 ORDER BY 1, 2"
        before = storage.session.connection().execute(catalog.encode()).fetchall()
        for name in NAMES:
            storage.create_bloc(name, "csv_loader", {"file_path": name})
            storage.create_pipeline(name, [[name]], author=name, note=name)
        storage.create_trigger("t", NAMES[0], "0 * * * *")
        assert len(storage.list_pipelines()) == len(NAMES)
        assert storage.session.connection().execute(catalog.encode()).fetchall() == before
