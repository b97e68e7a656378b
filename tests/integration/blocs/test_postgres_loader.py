"""Tables and queries read from a real Postgres."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cableway.blocs.incremental import Incremental
from cableway.blocs.kinds import Resources
from cableway.blocs.postgres.loader import PostgresLoaderBloc, PostgresLoaderConfig
from cableway.blocs.tables import library
from cableway.context import RunContext, RunFacts
from cableway.errors import CredentialsError, SettingsError, SourceError
from cableway.settings import DatabaseSettings
from tests.integration.blocs.conftest import Query

SECRET = "s3cret"
CONTEXT = RunContext(RunFacts(run_id="run", pipeline="p"), bloc="load")
Load = Callable[..., PostgresLoaderBloc]


@pytest.fixture
def loader(database: str) -> Load:
    def make(**config: Any) -> PostgresLoaderBloc:
        config = config if "query" in config else {"table_name": "numbers", **config}
        bloc = PostgresLoaderBloc("load", PostgresLoaderConfig(**config))
        bloc.bind(Resources(database=DatabaseSettings(url=database, connect_budget_s=0)))
        bloc.open(CONTEXT)
        return bloc

    return make


def items(bloc: PostgresLoaderBloc, column: str = "n") -> list[tuple[str, list[Any]]]:
    return [(position, table[column].to_pylist()) for position, table in bloc.load(CONTEXT)]


def test_every_type_arrives(loader: Load) -> None:
    moment = dt.datetime(2024, 2, 29, 23, 59, 59, 123456)  # noqa: DTZ001 - one type of Postgres has no zone either
    some = uuid.uuid4()
    columns: dict[str, tuple[str, Any, str]] = {
        "small": ("1::int2", 1, "int16"),
        "whole": ("2::int", 2, "int32"),
        "big": ("3::bigint", 3, "int64"),
        "real": ("0.5::real", 0.5, "float"),
        "double": ("1e300::float8", 1e300, "double"),
        "infinite": ("'-Infinity'::float8", -math.inf, "double"),
        "yes": ("true", True, "bool"),
        "exact": ("1.50::numeric(10, 2)", Decimal("1.50"), "decimal128(10, 2)"),
        "wide": ("1::numeric(50, 3)", Decimal(1), "decimal256(50, 3)"),
        "loose": ("0.1::numeric", Decimal("0.1"), "decimal128(38, 18)"),
        "text": ("E'a,\"b\"\\nc\\\\.\\r\\n'::text", 'a,"b"\nc\\.\r\n', "string"),
        "empty": ("''::text", "", "string"),
        "null": ("NULL::text", None, "string"),
        "nothing": ("NULL::int", None, "int32"),
        "name": ("'ö'::varchar(3)", "ö", "string"),
        "day": ("date '2024-02-29'", moment.date(), "date32[day]"),
        "time": ("time '23:59:59.123456'", moment.time(), "time64[us]"),
        "moment": ("timestamp '2024-02-29 23:59:59.123456'", moment, "timestamp[us]"),
        "instant": (
            "timestamptz '2024-03-01 01:59:59.123456+02'",
            moment.replace(tzinfo=dt.UTC),
            "timestamp[us, tz=UTC]",
        ),
        "span": ("interval '1 month 2 days'", "1 mon 2 days", "string"),
        "uuid": (f"'{some}'::uuid", some, "extension<arrow.uuid>"),
        "bytes": ("'\\x00ff'::bytea", b"\x00\xff", "binary"),
        "json": ('\'{"b": 1, "a": [null]}\'::json', '{"b": 1, "a": [null]}', "extension<arrow.json>"),
        "jsonb": ("'[1]'::jsonb", "[1]", "extension<arrow.json>"),
        "ints": ("ARRAY[1, NULL]", [1, None], "list<item: int32>"),
        "texts": ("ARRAY['a,', '\"b\"', '', NULL]", ["a,", '"b"', "", None], "list<item: string>"),
        "exacts": ("ARRAY[1.50]", ["1.50"], "list<item: string>"),
        "floats": (
            "ARRAY['Infinity', 0.5]::float8[] || '-Infinity'::float8",
            [math.inf, 0.5, -math.inf],
            "list<item: double>",
        ),
        "no_array": ("NULL::int[]", None, "list<item: int32>"),
        "range": ("int4range(1, 3)", "[1,3)", "string"),
    }
    query = "SELECT " + ", ".join(f'{value} AS "{name}"' for name, (value, _, _) in columns.items())
    table = loader(query=query).load(CONTEXT)
    (row,) = table.to_pylist()
    assert [(name, row[name]) for name, (_, value, _) in columns.items() if row[name] != value] == []
    assert {field.name: str(field.type) for field in table.schema} == {
        name: kind for name, (_, _, kind) in columns.items()
    }


def test_no_rows_have_types_too(loader: Load) -> None:
    table = loader(query="SELECT 1 AS n, gen_random_uuid() AS u, ARRAY[1] AS a WHERE false").load(CONTEXT)
    assert (table.num_rows, [str(kind) for kind in table.schema.types]) == (
        0,
        ["int32", "extension<arrow.uuid>", "list<item: int32>"],
    )


@pytest.mark.parametrize(("numerics", "value"), [("float64", 1 / 3), ("string", "0.33333333333333333333")])
def test_a_loose_numeric_becomes_what_is_wished(loader: Load, numerics: str, value: Any) -> None:
    query = "SELECT 1 / 3.0 AS n"
    assert loader(query=query, numerics=numerics).load(CONTEXT)["n"].to_pylist() == [pytest.approx(value)]
    with pytest.raises(SourceError, match=r"column 'n' holds a value that decimal.* cannot: cast it to a numeric"):
        loader(query=query).load(CONTEXT)


def test_a_value_that_does_not_fit_names_its_column_and_not_itself(loader: Load) -> None:
    for value in ("date 'infinity'", "timestamp '-infinity'", "'NaN'::numeric(5, 2)", f"ARRAY[ARRAY['{SECRET}']]"):
        bloc = loader(query=f"SELECT 'x' AS a, {value} AS n")
        if "ARRAY" in value:
            assert bloc.load(CONTEXT)["n"].to_pylist() == [[f'["{SECRET}"]']]
            continue
        with pytest.raises(SourceError, match="column 'n' holds a value") as caught:
            bloc.load(CONTEXT)
        assert "nfinity'" not in str(caught.value)


def test_a_table_is_loaded_whole_or_in_batches(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers AS SELECT n, n * 2 AS twice FROM generate_series(1, 25) AS n")
    assert loader().load(CONTEXT).num_rows == 25
    assert [(place, len(rows)) for place, rows in items(loader(batch_size=10))] == [("0", 10), ("1", 10), ("2", 5)]
    some = loader(columns=["twice"], where="n % 2 = 0 -- even", batch_size=7).load(CONTEXT)
    assert [table.to_pydict() for _, table in some] == [
        {"twice": [4, 8, 12, 16, 20, 24, 28]},
        {"twice": [32, 36, 40, 44, 48]},
    ]


def test_a_query_takes_parameters_as_values(loader: Load) -> None:
    hostile = "'; DROP TABLE x; --"
    config = {"query": "SELECT %(a)s AS a, '100%%' AS b;", "parameters": {"a": hostile}}
    assert loader(**config).load(CONTEXT).to_pylist() == [{"a": hostile, "b": "100%"}]
    assert loader(query="SELECT '100%' AS b, '{}' AS c -- all").load(CONTEXT).to_pylist() == [{"b": "100%", "c": "{}"}]
    with pytest.raises(SourceError, match="placeholders"):
        loader(query="SELECT %(b)s", parameters={"a": 1})


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM numbers", "does not understand"),
        ("SELECT 1; DROP TABLE numbers", "does not understand"),
        ("SELECT 1) AS x; DROP TABLE numbers; --", "does not understand"),
        ("SELECT empty_it()", "wants to write, and a loader only reads"),
        ("SELECT * FROM nowhere", "there is no such table"),
        ("SELECT 1 AS a, 2 AS a", "gives the column 'a' twice"),
        (f"SELECT '{SECRET}'::int AS n", "Postgres refused"),
    ],
)
def test_a_query_that_does_more_than_read_is_refused(loader: Load, query: Query, statement: str, words: str) -> None:
    query("CREATE TABLE numbers AS SELECT 1 AS n")
    query("CREATE FUNCTION empty_it() RETURNS void LANGUAGE sql AS 'DELETE FROM numbers'")
    with pytest.raises(SourceError, match=words) as caught:
        loader(query=statement).load(CONTEXT)
    assert SECRET not in str(caught.value)
    assert query("SELECT n FROM numbers") == [(1,)]


@pytest.mark.fault("C17")
@pytest.mark.parametrize("name", ['a"b; DROP TABLE victim;--', "select", "Größe", "%s {}", "x" * 63])
def test_names_are_quoted_whatever_they_are(loader: Load, query: Query, name: str) -> None:
    query(sql.SQL("CREATE SCHEMA {0}; CREATE TABLE {0}.{0} AS SELECT 1 AS {0}").format(sql.Identifier(name)))
    bloc = loader(table_name=name, schema=name, columns=[name], key=[name], batch_size=1)
    assert [table.to_pylist() for _, table in bloc.load(CONTEXT)] == [[{name: 1}]]


def resumed(bloc: PostgresLoaderBloc, plan: Mapping[str, Any], position: str, known: Iterable[str] = ()) -> Any:
    bloc.follow(plan, {})
    bloc.recut(known)
    bloc.resume(position, bloc.fingerprint(position))
    return items(bloc)


@pytest.mark.promise("P11")
def test_ranges_of_a_key_are_read_again_as_they_were(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers AS SELECT n * 10 AS n FROM generate_series(1, 10) AS n")
    config = {"key": ["n"], "batch_size": 3}
    bloc = loader(**config)
    plan = bloc.plan(CONTEXT, {})
    assert plan == {"upper": ["100"]}
    bloc.follow(plan, {})
    first = items(bloc)
    assert first == [
        ("*:30", [10, 20, 30]),
        ("30:60", [40, 50, 60]),
        ("60:90", [70, 80, 90]),
        ("90:100", [100]),
    ]
    query("INSERT INTO numbers VALUES (5), (45), (46), (61), (95), (101), (200)")
    assert resumed(loader(**config), plan, "30:60") == [
        ("30:60", [40, 45, 46, 50, 60]),
        ("60:80", [61, 70, 80]),
        ("80:100", [90, 95, 100]),
    ]
    # Of what lies beyond the cursor an exporter has the last range: it stays, and what is before it is cut anew.
    assert resumed(loader(**config), plan, "*:30", ["90:100"]) == [
        ("*:30", [5, 10, 20, 30]),
        ("30:46", [40, 45, 46]),
        ("46:61", [50, 60, 61]),
        ("61:90", [70, 80, 90]),
        ("90:100", [95, 100]),
    ]
    with pytest.raises(SourceError, match="no position of this loader"):
        loader(**config).resume("0:9:90", {})


def test_a_key_of_several_columns_of_any_type_is_a_range(loader: Load, query: Query) -> None:
    query(
        "CREATE TABLE numbers AS SELECT t, d, n FROM (VALUES ('', date '2024-01-01', 1), ('', '2024-01-02', 2), "
        "('a.b,c:%', '2024-01-01', 3), ('*', '2024-01-01', 4), ('é', '2024-01-01', 5)) AS v (t, d, n)"
    )
    config: dict[str, Any] = {"key": ["t", "d"], "batch_size": 1, "columns": ["n"]}
    bloc = loader(**config)
    plan = bloc.plan(CONTEXT, {})
    bloc.follow(plan, {})
    every = items(bloc)
    assert sorted(rows for _, rows in every) == [[1], [2], [3], [4], [5]]
    assert all("." not in place for place, _ in every)
    for number in range(5):
        again = resumed(loader(**config), plan, every[number][0], [place for place, _ in reversed(every)])
        assert again == every[number:]


@pytest.mark.parametrize("kind", ["int", "numeric", 'text COLLATE "C"', "text", "timestamptz"])
def test_the_order_of_keys_is_the_databases(loader: Load, query: Query, kind: str) -> None:
    value = "to_timestamp(n)" if kind == "timestamptz" else "n"
    query(
        f"CREATE TABLE numbers (n int, k {kind}); INSERT INTO numbers SELECT n, {value} FROM generate_series(-3, 12) n"
    )
    config = {"key": ["k"], "batch_size": 4}
    bloc = loader(**config)
    bloc.follow(plan := bloc.plan(CONTEXT, {}), {})
    every = items(bloc)
    assert sorted(n for _, rows in every for n in rows) == list(range(-3, 13))
    assert resumed(loader(**config), plan, every[0][0], [every[3][0], "gather", every[1][0]]) == every


def test_a_key_that_is_none_is_found_out(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1), (2), (2), (3)")
    bloc = loader(key=["n"], batch_size=2)
    with pytest.raises(SourceError, match="the key is not unique"):
        items(bloc)
    query("INSERT INTO numbers VALUES (NULL)")
    with pytest.raises(SourceError, match="rows without a value in the key"):
        bloc.plan(CONTEXT, {})
    with pytest.raises(SourceError, match="has no column 'm', which 'key' names; it has: 'n'"):
        loader(key=["m"], batch_size=2)


def test_a_row_of_one_missing_value_is_a_row(loader: Load) -> None:
    bloc = loader(query="SELECT n FROM (VALUES (NULL), (1), (NULL)) AS v (n)")
    assert bloc.load(CONTEXT)["n"].to_pylist() == [None, 1, None]


def test_an_empty_table_has_no_items(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers (n int)")
    bloc = loader(key=["n"], batch_size=2)
    plan = bloc.plan(CONTEXT, {})
    assert plan == {"upper": None}
    query("INSERT INTO numbers VALUES (1)")
    bloc.follow(plan, {})
    assert items(bloc) == []


def test_all_is_read_as_of_one_moment(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers AS SELECT n FROM generate_series(1, 9000) AS n")
    stream = loader(key=["n"], batch_size=3000).load(CONTEXT)
    first = next(stream)
    query("UPDATE numbers SET n = -n WHERE n > 3000")
    assert [first[1].num_rows, *(table.num_rows for _, table in stream)] == [3000, 3000, 3000]


def test_a_reader_that_goes_leaves_nothing_open(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers AS SELECT n, repeat('x', 1000) AS t FROM generate_series(1, 20000) AS n")
    stream = loader(batch_size=10).load(CONTEXT)
    next(stream)
    stream.close()
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cableway' AND datname = current_database()"
    )
    while query(others) != [(0,)]:
        pass


def test_only_what_is_new_is_loaded(loader: Load, query: Query) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY, at timestamptz)")
    query(
        "INSERT INTO numbers SELECT n, timestamptz '2024-01-01+00' + n * interval '1 day' FROM generate_series(1, 5) n"
    )
    config: dict[str, Any] = {
        "key": ["n"],
        "batch_size": 2,
        "incremental": Incremental(cursor_field="at", primary_key=("n",)),
    }
    assert PostgresLoaderBloc.keeps_cursor(PostgresLoaderConfig(table_name="numbers", **config))
    state: Mapping[str, Any] = {}
    for expected in ([1, 2, 3, 4, 5], [6, 7], []):
        bloc = loader(**config)
        plan = bloc.plan(CONTEXT, state)
        bloc.follow(plan, {})
        assert [n for _, rows in items(bloc) for n in rows] == expected
        state = bloc.reached()
        query("INSERT INTO numbers VALUES (6, '2024-01-06+00'), (7, '2024-01-09+00') ON CONFLICT DO NOTHING")


def test_configs_that_cannot_work_are_refused(database: str) -> None:
    def faults(**config: Any) -> list[str]:
        return [name for name, _ in PostgresLoaderBloc.faults(PostgresLoaderConfig(**config))]

    assert faults() == ["table_name"]
    assert faults(table_name="a", query="SELECT 1") == ["table_name"]
    assert faults(table_name="x" * 64) == ["table_name"]
    assert faults(table_name="t", schema="a\x00") == ["schema"]
    assert faults(table_name="t", key=["a"]) == ["key"]
    assert faults(table_name="t", key=["a", "a"], batch_size=1) == ["key"]
    assert faults(table_name="t", columns=[]) == ["columns"]
    assert faults(query="SELECT 1", where="true") == ["where"]
    assert faults(table_name="t", parameters={"a": 1}) == ["parameters"]
    with pytest.raises(SettingsError, match="no database to read"):
        PostgresLoaderBloc("load", PostgresLoaderConfig(table_name="t")).open(CONTEXT)


def test_a_missing_right_and_a_lost_connection_are_named(loader: Load, query: Query, database: str) -> None:
    query("CREATE ROLE guest LOGIN; CREATE TABLE numbers AS SELECT n FROM generate_series(1, 100000) AS n")
    try:
        with pytest.raises(CredentialsError, match="the role has no right to read"):
            loader(dsn=database.replace("postgres@", "guest@", 1))
    finally:
        query("DROP ROLE guest")
    stream = loader(batch_size=200).load(CONTEXT)
    next(stream)
    query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cableway'")
    with pytest.raises(SourceError, match="connection to Postgres was lost"):
        list(stream)


@pytest.mark.fault("C18")
def test_memory_does_not_grow_with_the_result(loader: Load) -> None:
    pa = library("pyarrow")
    pool = pa.default_memory_pool()
    before: int = pool.bytes_allocated()
    held: list[int] = []
    rows = 0
    for _, table in loader(query="SELECT n, n::text AS t FROM generate_series(1, 200000) AS n", batch_size=5000).load(
        CONTEXT
    ):
        rows += table.num_rows
        held.append(pool.bytes_allocated() - before)
    assert rows == 200_000
    assert max(held) < 3 * held[0]


def test_the_servers_own_settings_change_nothing(loader: Load, query: Query, database: str) -> None:
    name = sql.Identifier(str(conninfo_to_dict(database)["dbname"]))
    for setting in (
        "TimeZone = 'Asia/Tokyo'",
        "DateStyle = 'German'",
        "bytea_output = 'escape'",
    ):
        query(sql.SQL("ALTER DATABASE {} SET {}").format(name, sql.SQL(setting)))
    bloc = loader(query="SELECT timestamptz '2024-01-01 00:00+00' AS t, date '2024-02-01' AS d, '\\x41'::bytea AS b")
    row = bloc.load(CONTEXT).to_pylist()[0]
    assert (row["t"], row["d"], row["b"]) == (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 2, 1), b"A")
