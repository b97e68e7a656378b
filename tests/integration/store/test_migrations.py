from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from cableway.errors import CredentialsError, SchemaVersionError, UnknownRunError
from cableway.settings import DatabaseSettings
from cableway.store import migrations as migrating
from cableway.store.connect import connect
from cableway.store.migrations import migrate, migrations
from cableway.store.postgres import PostgresRunStore
from cableway.store.session import Session
from cableway.store.versions import SCHEMA_NUMBER
from cableway.stored.versions import named_blocs
from tests.fixtures.state import pipeline, store_version

NAMES = [migration.name for migration in migrations()]


def tables(settings: DatabaseSettings) -> set[str]:
    with connect(settings) as connection:
        rows = connection.execute(
            "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace",
            [f'"{settings.schema.replace(chr(34), chr(34) * 2)}"'],
        ).fetchall()
    return {row["name"] for row in rows}


def ensure(settings: DatabaseSettings) -> None:
    with closing(Session(settings)) as session:
        session.ensure_schema()


@pytest.mark.parametrize("schema", ["cableway", "a\"b'%s; DROP TABLE x;--", "Ünïcode", "select"])
def test_the_schema_appears_by_itself(database: str, schema: str) -> None:
    settings = DatabaseSettings(url=database, schema=schema)
    store = PostgresRunStore(settings)
    with closing(store), pytest.raises(UnknownRunError):
        store.claim("01a1ff6e-3845-7665-876d-4224aee43cbb")
    assert {"runs", "kept_attempts", "pipelines", "migrations"} <= tables(settings)
    with closing(Session(settings)) as session:
        store_version(session, pipeline())
    ensure(settings)


def test_instances_that_start_together_make_it_once(database: str) -> None:
    settings = DatabaseSettings(url=database)
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ensure, [settings] * 6))
    with closing(Session(settings)) as session:
        rows = session.rows("schema_numbers")
    assert [(row["number"], row["hash"]) for row in rows] == [(each.number, each.hash) for each in migrations()]


def test_migrating_says_what_it_did(database: str) -> None:
    settings = DatabaseSettings(url=database)
    with connect(settings) as connection:
        assert migrate(connection, settings) == NAMES
        assert migrate(connection, settings) == []


def test_a_schema_that_somebody_made_is_filled(database: str) -> None:
    settings = DatabaseSettings(url=database)
    with connect(settings) as connection:
        connection.execute("CREATE SCHEMA cableway")
    ensure(settings)
    assert "runs" in tables(settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM cableway.migrations WHERE number = (SELECT max(number) FROM cableway.migrations)", "migrate"),
        ("INSERT INTO cableway.migrations VALUES (9999, 'later', 'x')", "newer"),
    ],
)
def test_another_versions_schema_is_refused_and_nothing_taken(session: Session, change: str, words: str) -> None:
    settings = session.settings
    store_version(session, pipeline())
    from cableway.runs import RunRequest, record_run

    run_id = record_run(session, RunRequest(pipeline="flights")).run_id
    session.connection().execute(change.encode())
    with closing(PostgresRunStore(settings)) as store:
        with pytest.raises(SchemaVersionError, match=words) as caught:
            store.claim(run_id)
        assert caught.value.exit_code == 78
        with pytest.raises(SchemaVersionError, match=words):
            record_run(store.session, RunRequest(pipeline="flights"))
    with pytest.raises(SchemaVersionError, match=words):
        ensure(settings)
    states = session.connection().execute("SELECT state FROM cableway.runs").fetchall()
    assert [row["state"] for row in states] == ["queued"]


def test_a_changed_file_is_noticed(session: Session) -> None:
    session.connection().execute("UPDATE cableway.migrations SET hash = 'other' WHERE number = 1")
    with pytest.raises(SchemaVersionError, match=NAMES[0]):
        migrate(session.connection(), session.settings)


def test_a_newer_schema_is_left_alone(session: Session) -> None:
    session.connection().execute("INSERT INTO cableway.migrations VALUES (%s, 'later', 'x')", [SCHEMA_NUMBER + 1])
    with pytest.raises(SchemaVersionError, match="newer"):
        migrate(session.connection(), session.settings)


def test_a_role_without_the_right_is_told(database: str) -> None:
    settings = DatabaseSettings(url=database)
    with connect(settings) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
    lowly = replace(settings, url=database.replace("postgres@", "reader@"))
    with pytest.raises(CredentialsError, match="no right"):
        ensure(lowly)
    assert tables(replace(settings, schema="pg_catalog")) >= {"pg_class"}


def test_what_was_stored_before_is_brought_along(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DatabaseSettings(url=database)
    sources: list[Any] = [
        {"name": "p", "stages": [["a"], ["b", "c"]]},
        {"name": "p", "stages": ["a", {"blocs": ["d", "own", {"name": "e"}]}, {"name": "x"}], "blocs": {"own": {}}},
        {"name": "p", "stages": []},
        None,
    ]
    monkeypatch.setattr(migrating, "migrations", lambda: migrations()[:1])
    with connect(settings) as connection:
        assert migrate(connection, settings) == NAMES[:1]
        connection.execute("INSERT INTO cableway.blocs (name, bloc_type, config) VALUES ('a', 'x', '{}')")
        with connection.transaction():
            connection.execute("INSERT INTO cableway.pipelines (name, active_version) VALUES ('p', 1)")
            for version, source in enumerate(sources, 1):
                connection.execute(
                    "INSERT INTO cableway.pipeline_versions VALUES ('p', %s, '{}', 1, 'x', %s)",
                    [version, None if source is None else json.dumps(source)],
                )
        monkeypatch.undo()
        with pytest.raises(SchemaVersionError, match=r"at migration 1, .*: run `cableway migrate`"):
            ensure(settings)
        assert migrate(connection, settings) == NAMES[1:]
        rows = connection.execute(
            "SELECT previous_version AS previous, bloc_names FROM cableway.pipeline_versions ORDER BY version"
        ).fetchall()
        revisions = connection.execute("SELECT revision FROM cableway.blocs").fetchall()
    assert [row["previous"] for row in rows] == [None, 1, 2, 3]
    assert [sorted(row["bloc_names"]) for row in rows] == [["a", "b", "c"], ["a", "d"], [], []]
    for row, source in zip(rows, sources, strict=True):
        assert sorted(row["bloc_names"]) == (named_blocs(source) if source else [])
    assert revisions == [{"revision": 1}]
