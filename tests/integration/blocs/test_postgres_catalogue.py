"""What exporters leave in the catalogue of the database that they write to: what was named, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.blocs.kinds import Ending
from cableway.blocs.postgres.exporter import PostgresExporterBloc, PostgresExporterConfig
from cableway.errors import SinkError
from tests.integration.blocs.conftest import Open, Query

HOSTILE = (
    'a"b; DROP TABLE victim;--',
    "'; DROP SCHEMA public CASCADE; --",
    "select",
    "Größe 漢字",
    "%s {} %(x)s",
    "x" * 63,
    "ö" * 31,
    "pg_class",
    "dot.ted",
    "line\nend",
    "back\\slash",
)
CATALOGUE = """
SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
UNION ALL SELECT format('relation %s %s %s', relnamespace::regnamespace, relname, relkind) FROM pg_class
  WHERE relnamespace::regnamespace::text !~ '^pg_toast'
UNION ALL SELECT format('column %s %s %s', c.relname, a.attname, format_type(a.atttypid, NULL)) FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r'
UNION ALL SELECT format('function %s', proname) FROM pg_proc
UNION ALL SELECT format('type %s', typname) FROM pg_type WHERE typrelid = 0 AND typelem = 0
UNION ALL SELECT format('role %s', rolname) FROM pg_roles
UNION ALL SELECT format('trigger %s', tgname) FROM pg_trigger
UNION ALL SELECT format('extension %s', extname) FROM pg_extension
UNION ALL SELECT format('access %s %s', relname, relacl) FROM pg_class
  WHERE EXISTS (SELECT FROM aclexplode(relacl) AS granted WHERE granted.grantee <> relowner)
"""


def catalogue(query: Query) -> set[str]:
    return {line for (line,) in query(CATALOGUE)}


def named(table: str, columns: dict[str, str]) -> set[str]:
    return {f"relation public {table} r", *(f"column {table} {column} {kind}" for column, kind in columns.items())}


@pytest.fixture
def victim(query: Query) -> None:
    query("CREATE TABLE victim (n int); INSERT INTO victim VALUES (1)")


@pytest.fixture
def before(open_exporter: Open, query: Query) -> set[str]:
    """What is there, the tables of the exporters' own among it, and rows that nobody is to touch."""
    query("CREATE TABLE victim (n int); INSERT INTO victim VALUES (1)")
    first = open_exporter()
    first.write([{"n": 1}])
    first.close()
    return catalogue(query)


@pytest.mark.fault("C17")
@pytest.mark.parametrize("if_exists", ["replace", "append", "swap"])
def test_the_catalogue_gains_what_was_named_and_no_more(
    open_exporter: Open, query: Query, before: set[str], if_exists: str
) -> None:
    wanted = set(before)
    for number, name in enumerate(HOSTILE):
        more = f"{name[:20]} more"
        for line in (f"first-{number}", f"second-{number}"):
            exporter = open_exporter(table_name=name, if_exists=if_exists, new_columns="evolve", line=line)
            exporter.write([{name: 1}], "0:0:0")
            exporter.write([{name: 2, more: "x"}], "0:1:0")
            exporter.close()
        wanted |= named(name, {name: "bigint", more: "text"})
    assert catalogue(query) == wanted
    assert query("SELECT n FROM victim") == [(1,)]


@pytest.mark.fault("C17")
def test_a_run_that_failed_changes_nothing_in_the_catalogue(
    open_exporter: Open, query: Query, before: set[str]
) -> None:
    for name in HOSTILE:
        exporter = open_exporter(table_name=name)
        exporter.write([{name: 1}])
        exporter.close(Ending.FAILED)
    assert catalogue(query) == before


@pytest.mark.fault("C17")
@pytest.mark.parametrize("name", ["x" * 64, "ö" * 32, "", "nul\x00"])
def test_names_that_postgres_would_change_are_refused_and_nothing_is_made(
    open_exporter: Open, query: Query, before: set[str], name: str
) -> None:
    assert list(PostgresExporterBloc.faults(PostgresExporterConfig(table_name=name)))
    assert list(PostgresExporterBloc.faults(PostgresExporterConfig(table_name="t", schema=name)))
    exporter = open_exporter(if_exists="append")
    rows: list[dict[str, Any]] = [{name: 1}]
    with pytest.raises(SinkError, match="names of 1 to 63 bytes"):
        exporter.write(rows, "0:1:0")
    assert catalogue(query) == before
