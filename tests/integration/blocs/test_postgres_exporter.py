from __future__ import annotations

import datetime as dt
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from psycopg import sql

from cableway.blocs.kinds import Ending, Resources
from cableway.blocs.postgres.exporter import PostgresExporterBloc, PostgresExporterConfig
from cableway.blocs.tables import library
from cableway.errors import CredentialsError, DefinitionError, RowError, SettingsError, SinkError, UnavailableError
from cableway.settings import DatabaseSettings
from tests import need
from tests.fixtures.postgres import Postgres
from tests.integration.blocs.conftest import Exporter, Open, Query

pa = library("pyarrow")
SECRET = "s3cret"


def test_every_type_arrives(open_exporter: Open, query: Query) -> None:
    moment = dt.datetime(2024, 2, 29, 23, 59, 59, 123456)  # noqa: DTZ001 - one type of Postgres has no zone either
    columns: dict[str, tuple[Any, Any, str]] = {
        "small": (pa.array([1], pa.int8()), 1, "smallint"),
        "whole": (pa.array([2**31], pa.int64()), 2**31, "bigint"),
        "huge": (pa.array([2**63], pa.uint64()), Decimal(2**63), "numeric"),
        "real": (pa.array([0.5], pa.float32()), 0.5, "real"),
        "half": (pa.array([0.5], pa.float16()), 0.5, "real"),
        "double": (pa.array([1e300]), 1e300, "double precision"),
        "exact": (pa.array([Decimal("1.50")]), Decimal("1.50"), "numeric"),
        "yes": (pa.array([True]), True, "boolean"),
        "text": (pa.array(['a,"b"\nc\\.']), 'a,"b"\nc\\.', "text"),
        "wide": (pa.array(["x"], pa.large_string()), "x", "text"),
        "view": (pa.array(["x"], pa.string_view()), "x", "text"),
        "empty": (pa.array([""]), "", "text"),
        "missing": (pa.array([None], pa.null()), None, "text"),
        "kind": (pa.array(["a"]).dictionary_encode(), "a", "text"),
        "day": (pa.array([moment.date()]), moment.date(), "date"),
        "time": (pa.array([moment.time()]), moment.time(), "time without time zone"),
        "moment": (pa.array([moment]), moment, "timestamp without time zone"),
        "instant": (
            pa.array([moment.replace(tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Paris")),
            moment.replace(tzinfo=dt.UTC),
            "timestamp with time zone",
        ),
        "span": (pa.array([dt.timedelta(days=1, seconds=2, microseconds=3)]), dt.timedelta(1, 2, 3), "interval"),
        "bytes": (pa.array([b"\x00\xff"]), b"\x00\xff", "bytea"),
        "list": (pa.array([[1, None]]), [1, None], "jsonb"),
        "struct": (pa.array([{"a": "\u00e9"}]), {"a": "\u00e9"}, "jsonb"),
    }
    exporter = open_exporter()
    assert exporter.write(pa.table({name: array for name, (array, _, _) in columns.items()})) == 1
    exporter.close()
    assert query("SELECT * FROM numbers") == [tuple(value for _, value, _ in columns.values())]
    kinds = query("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'numbers'")
    assert dict(kinds) == {name: kind for name, (_, _, kind) in columns.items()}


@pytest.mark.parametrize(
    "rows", [pa.table({"a": [1, None]}), pd.DataFrame({"a": [1, None]}, dtype="Int64"), [{"a": 1}, {"a": None}]]
)
def test_every_form_of_a_table_arrives(open_exporter: Open, query: Query, rows: Any) -> None:
    exporter = open_exporter()
    assert exporter.write(rows) == 2
    exporter.close()
    assert query("SELECT a FROM numbers") == [(1,), (None,)]


@pytest.mark.promise("P18")
def test_replace_is_all_or_nothing(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n bigint); INSERT INTO numbers SELECT generate_series(1, 1000)")
    exporter = open_exporter()
    exporter.write([{"n": -1}], "0:0:0")
    exporter.write([{"n": -2}], "0:1:9")
    assert query("SELECT count(*), min(n) FROM numbers") == [(1000, 1)]
    exporter.close(Ending.FAILED)
    assert query("SELECT count(*), min(n) FROM numbers") == [(1000, 1)]
    again = open_exporter(line="line-2")
    again.write([{"n": -3}])
    again.close(Ending.SUCCEEDED)
    assert query("SELECT n FROM numbers") == [(-3,)]


def test_a_run_without_items_leaves_an_empty_table(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n bigint); INSERT INTO numbers VALUES (1)")
    exporter = open_exporter()
    assert exporter.write(None) == 0
    exporter.close()
    assert query("SELECT n FROM numbers") == []


@pytest.mark.fault("C8")
@pytest.mark.promise("P18")
def test_no_reader_ever_sees_an_empty_table(open_exporter: Open, query: Query, database: str) -> None:
    query("CREATE TABLE numbers (n bigint); INSERT INTO numbers SELECT generate_series(1, 1000)")
    with psycopg.connect(database) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        count = sql.SQL("SELECT count(*) FROM numbers")
        assert reader.execute(count).fetchone() == (1000,)
        exporter = open_exporter()
        for item in range(20):
            exporter.write([{"n": n} for n in range(50)], f"0:{item}:0")
            assert query("SELECT count(*) FROM numbers") == [(1000,)]
        exporter.close()
        assert query("SELECT count(*) FROM numbers") == [(1000,)]
        assert reader.execute(count).fetchone() == (1000,)


@pytest.mark.fault("C8")
@pytest.mark.promise("P18")
def test_grants_and_indexes_stay(open_exporter: Open, query: Query) -> None:
    query("CREATE ROLE reader; CREATE TABLE numbers (n bigint PRIMARY KEY); GRANT SELECT ON numbers TO reader")
    facts = (
        "SELECT c.oid, relacl::text, "
        "(SELECT array_agg(indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid) "
        "FROM pg_class c WHERE relname = 'numbers'"
    )
    before = query(facts)
    exporter = open_exporter()
    exporter.write([{"n": 1}])
    exporter.close()
    assert query(facts) == before
    query("DROP TABLE numbers; DROP ROLE reader")


@pytest.mark.fault("C7")
@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    ("rows", "row", "column", "reason"),
    [
        ([{"n": 1}, {"n": None}], 2, "n", "must not be missing"),
        ([{"n": 1}, {"n": 2}, {"n": 1}], 3, None, "unique constraint 'numbers_pkey'"),
        ([{"n": 1, "t": "x\ny"}, {"n": 2, "t": f"{SECRET}\x00"}], 2, "t", "NUL byte"),
        ([{"n": 1, "t": "x"}, {"n": 2, "t": f"{SECRET}\ud800"}], 2, "t", "surrogate"),
        ([{"n": 1, "t": "two\nlines"}, {"n": 2**62}], 2, "n", "out of the range of integer"),
        ([{"n": 1, "t": "\r"}, {"n": 2, "t": "\n\n"}, {"n": 2**62}], 3, "n", "out of the range of integer"),
        ([{"n": SECRET}], 1, "n", "is no integer"),
        ([{"n": 1.5}], 1, "n", "no whole number"),
        ([{"n": 1}, {"n": 2, "t": SECRET * 20}], 2, "t", "too long for character varying"),
        ([{"n": 1}, {"n": -5}], 2, None, "check constraint 'positive'"),
        ([{"n": 1, "d": f"{SECRET}-01"}], 1, "d", "is no date"),
        ([{"n": 1}, {"n": [1]}], None, "n", "no one type fits"),
    ],
)
@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_bad_row_is_placed_and_takes_no_other_item_with_it(
    open_exporter: Open,
    query: Query,
    if_exists: str,
    rows: list[dict[str, Any]],
    row: int | None,
    column: str | None,
    reason: str,
) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY CONSTRAINT positive CHECK (n > 0), t varchar(100), d date)")
    exporter = open_exporter(if_exists=if_exists)
    exporter.write([{"n": 100}], "0:0:0")
    with pytest.raises(RowError) as caught:
        exporter.write(rows, "0:1:9")
    exporter.write([{"n": 200}], "0:2:9")
    exporter.close(Ending.COMPLETED_WITH_ERRORS)
    assert (caught.value.row, caught.value.column) == (row, column)
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert query("SELECT n FROM numbers ORDER BY n") == [(100,), (200,)]


@pytest.mark.fault("C7")
@pytest.mark.promise("P18")
def test_an_item_of_another_shape_leaves_no_trace(open_exporter: Open, query: Query) -> None:
    """Rows that raise while they are looked at, and columns that are one too many."""

    class Breaking(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            raise RuntimeError(key)

    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
    for if_exists in ("replace", "append"):
        exporter = open_exporter(if_exists=if_exists, line=if_exists)
        with pytest.raises(RuntimeError):
            exporter.write([{"n": 2}, Breaking(n=3)], "0:0:0")
        with pytest.raises(SinkError, match="has no column 'm'"):
            exporter.write([{"n": 2, "m": 3}], "0:1:0")
        exporter.close(Ending.FAILED)
    assert query("SELECT n FROM numbers") == [(1,)]
    assert query("SELECT count(*) FROM cableway_commits") == [(0,)]


@pytest.fixture
def tiny_tablespace(postgres: Postgres, query: Query) -> Iterator[str]:
    """Half a megabyte of disk, for a table."""
    need.root()
    folder = Path(tempfile.mkdtemp(prefix="cableway-tiny-"))
    mount = [need.tool("mount"), "-t", "tmpfs", "-o", "size=512k,mode=777", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        data = (postgres.folder / "data").stat()
        os.chown(folder, data.st_uid, data.st_gid)
        query(sql.SQL("CREATE TABLESPACE tiny LOCATION {}").format(sql.Literal(str(folder))))
        yield "tiny"
        query("DROP TABLE numbers")
        query("DROP TABLESPACE tiny")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.fault("C14")
@pytest.mark.promise("P18")
@pytest.mark.parametrize("if_exists", ["append", "replace", "upsert"])
def test_a_full_disk_of_the_server_fails_the_item_and_no_more(
    open_exporter: Open, query: Query, tiny_tablespace: str, if_exists: str
) -> None:
    query(
        sql.SQL("CREATE TABLE numbers (n int PRIMARY KEY, t text) TABLESPACE {}").format(
            sql.Identifier(tiny_tablespace)
        )
    )
    query("ALTER TABLE numbers ALTER t SET STORAGE EXTERNAL; INSERT INTO numbers VALUES (1, 'old')")
    exporter = open_exporter(if_exists=if_exists, key=["n"])
    with pytest.raises(SinkError, match="the server's disk is full"):
        exporter.write([{"n": 2, "t": os.urandom(1_000_000).hex()}], "0:0:0")
    assert query("SELECT * FROM numbers") == [(1, "old")]
    assert exporter.write([{"n": 3, "t": "small"}], "0:1:0") == 1
    exporter.close(Ending.COMPLETED_WITH_ERRORS)
    assert query("SELECT count(*) FROM numbers") == [(1 if if_exists == "replace" else 2,)]


def test_columns_that_the_table_lacks_are_named(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int, t text)")
    exporter = open_exporter()
    with pytest.raises(SinkError, match=r"table public\.numbers has no column 'm'; it has: 'n', 't'"):
        exporter.write([{"n": 1, "m": 2}])


def test_columns_can_be_chosen_and_named(open_exporter: Open, query: Query) -> None:
    exporter = open_exporter(columns={"b": "second"})
    exporter.write([{"a": 1, "b": 2}])
    with pytest.raises(SinkError, match=r"'columns' names 'b', and the rows have: 'a'"):
        exporter.write([{"a": 1}])
    exporter.close()
    assert query("SELECT * FROM numbers") == [(2,)]


def test_floats_from_pandas_fill_whole_columns(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n bigint)")
    exporter = open_exporter()
    exporter.write(pd.DataFrame({"n": [1.0, float("nan"), 3.0]}))
    exporter.close()
    assert query("SELECT n FROM numbers") == [(1,), (None,), (3,)]


@pytest.mark.fault("C17")
@pytest.mark.parametrize("name", ['a"b; DROP TABLE victim;--', "select", "Größe", "with space", "dot.ted"])
def test_names_are_quoted_whatever_they_are(open_exporter: Open, query: Query, name: str) -> None:
    query(sql.SQL("CREATE TABLE victim (n int); CREATE SCHEMA {}").format(sql.Identifier(name)))
    for if_exists in ("replace", "append"):
        exporter = open_exporter(schema=name, table_name=name, if_exists=if_exists)
        exporter.write([{name: 1}])
        exporter.close()
    assert query(sql.SQL("SELECT {} FROM {}").format(sql.Identifier(name), sql.Identifier(name, name))) == [(1,), (1,)]
    assert query("SELECT count(*) FROM victim") == [(0,)]
    tables = query(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relkind = 'r'",
        (name,),
    )
    assert {table for (table,) in tables} == {name, "cableway_fences", "cableway_commits"}


@pytest.mark.fault("C17")
@pytest.mark.parametrize("name", ["", "x" * 64, "ö" * 32, "a\x00b"])
def test_names_that_postgres_would_change_are_refused(open_exporter: Open, name: str) -> None:
    exporter = open_exporter()
    with pytest.raises(SinkError, match="names of 1 to 63 bytes"):
        exporter.write(pa.table({name: [1]}))


def test_fail_refuses_a_table_that_is_there(open_exporter: Open, query: Query) -> None:
    first = open_exporter(if_exists="fail")
    first.write([{"n": 1}])
    first.close()
    with pytest.raises(SinkError, match=r"table public\.numbers exists, and if_exists is 'fail'"):
        open_exporter(if_exists="fail", line="line-2")
    assert query("SELECT n FROM numbers") == [(1,)]


@pytest.mark.fault("C9")
@pytest.mark.promise("P18")
@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_table_that_another_transaction_locks_fails_the_item(
    open_exporter: Open, query: Query, database: str, if_exists: str
) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
    exporter = open_exporter(if_exists=if_exists, lock_timeout_s=0.2)
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SinkError, match="locked it for longer than lock_timeout_s"):
            exporter.write([{"n": 2}])
    assert exporter.write([{"n": 3}]) == 1


@pytest.mark.fault("C10")
@pytest.mark.promise("P18")
def test_two_runs_that_replace_a_table_take_turns(database: str, open_exporter: Open, query: Query) -> None:
    first = open_exporter(line="line-1")
    first.write([{"n": 1}])
    second: list[Exporter] = []
    waiting = threading.Thread(target=lambda: second.append(open_exporter(line="line-2", lock_timeout_s=0.2)))
    waiting.start()
    wanted = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while query(wanted) != [(1,)]:
        assert waiting.is_alive()
    first.write([{"n": 1}], "0:1:0")
    first.close()
    waiting.join(10)
    second[0].write([{"n": 2}])
    assert query("SELECT n FROM numbers") == [(1,), (1,)]
    second[0].close()
    assert query("SELECT n FROM numbers") == [(2,)]


def test_a_lost_connection_fails_what_hangs_on_it(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
    exporter = open_exporter()
    exporter.write([{"n": 2}])
    query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'cableway/%%'")
    with pytest.raises(SinkError, match="connection to Postgres was lost"):
        exporter.write([{"n": 3}])
    with pytest.raises(SinkError, match="connection to Postgres was lost"):
        exporter.close()
    assert query("SELECT n FROM numbers") == [(1,)]


def test_append_goes_on_with_another_connection(open_exporter: Open, query: Query) -> None:
    exporter = open_exporter(if_exists="append")
    exporter.write([{"n": 1}], "0:0:0")
    query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'cableway/%%'")
    with pytest.raises(SinkError, match="connection to Postgres was lost"):
        exporter.write([{"n": 2}], "0:1:0")
    assert exporter.write([{"n": 2}], "0:1:0") == 1
    assert query("SELECT n FROM numbers") == [(1,), (2,)]


def test_several_workers_append_at_once(open_exporter: Open, query: Query) -> None:
    exporter = open_exporter(if_exists="append")
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for item in range(10):
                exporter.write([{"n": worker}] * 10, f"{worker}:{item}:0")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert query("SELECT n, count(*) FROM numbers GROUP BY n ORDER BY n") == [(n, 100) for n in range(4)]


def test_cableways_own_schema_and_tables_are_refused(database: str) -> None:
    resources = Resources(database=DatabaseSettings(url=database, schema="state"))
    bloc = PostgresExporterBloc("x", PostgresExporterConfig(table_name="runs", schema="state"))
    with pytest.raises(DefinitionError, match="'state' holds Cableway's own tables"):
        bloc.bind(resources)
    refused = [
        PostgresExporterConfig(table_name="cableway_fences"),
        PostgresExporterConfig(table_name="x" * 64),
        PostgresExporterConfig(table_name="t", schema="pg_catalog"),
    ]
    for config in refused:
        assert list(PostgresExporterBloc.faults(config))


def test_a_view_is_refused(open_exporter: Open, query: Query) -> None:
    query("CREATE VIEW numbers AS SELECT 1 AS n")
    exporter = open_exporter()
    with pytest.raises(SinkError, match="is a view"):
        exporter.write([{"n": 1}])


def test_a_missing_schema_and_a_missing_right_are_named(open_exporter: Open, query: Query, database: str) -> None:
    with pytest.raises(SinkError, match="there is no such schema"):
        open_exporter(schema="nowhere")
    query("CREATE ROLE guest LOGIN; CREATE TABLE numbers (n int)")
    try:
        with pytest.raises(CredentialsError, match="the role has no right"):
            open_exporter(dsn=database.replace("postgres@", "guest@", 1), if_exists="append")
    finally:
        query("DROP ROLE guest")


def test_a_dsn_of_ones_own_is_used_and_never_shown(database: str, query: Query) -> None:
    exporter = Exporter("postgresql://nobody@/none?host=/nowhere", dsn=database)
    exporter.write([{"n": 1}])
    exporter.close()
    assert query("SELECT n FROM numbers") == [(1,)]
    config = PostgresExporterConfig(table_name="t", dsn=f"postgresql://u:{SECRET}@/x?host=/nowhere")
    assert SECRET not in repr(config)
    for dsn, error in ((config.dsn, UnavailableError), (f"{SECRET} no dsn", SettingsError)):
        with pytest.raises(error) as caught:
            Exporter(database, dsn=dsn)
        assert SECRET not in str(caught.value)
