"""Upsert, swap, and tables whose columns change."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from cableway.blocs.kinds import Ending
from cableway.blocs.postgres.exporter import PostgresExporterBloc, PostgresExporterConfig
from cableway.errors import RowError, SinkError
from tests.integration.blocs.conftest import Open, Query

SECRET = "s3cret"


def test_upsert_updates_what_is_there_and_the_last_row_of_a_key_wins(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY, t text, other text DEFAULT 'kept')")
    query("INSERT INTO numbers VALUES (1, 'old', 'mine'), (9, 'old', 'mine')")
    exporter = open_exporter(if_exists="upsert", key=["n"])
    assert exporter.write([{"n": 1, "t": "a"}, {"n": 2, "t": "b"}, {"n": 1, "t": "c"}], "0:0:0") == 2
    assert exporter.write([{"n": 2, "t": "d"}], "0:3:0") == 1
    assert exporter.write([{"n": 2, "t": "never"}], "0:3:0") == 0
    exporter.close()
    assert query("SELECT * FROM numbers ORDER BY n") == [(1, "c", "mine"), (2, "d", "kept"), (9, "old", "mine")]


def test_upsert_makes_a_table_with_the_key_as_its_primary_key(open_exporter: Open, query: Query) -> None:
    exporter = open_exporter(if_exists="upsert", key=["b", "a"])
    exporter.write([{"a": 1, "b": 1, "v": 1}, {"a": 1, "b": 2, "v": 2}], "0:0:0")
    exporter.write([{"a": 1, "b": 1, "v": 3}], "0:2:0")
    exporter.close()
    assert query("SELECT a, b, v FROM numbers ORDER BY b") == [(1, 1, 3), (1, 2, 2)]
    keys = query(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'numbers'::regclass AND contype = 'p'"
    )
    assert keys == [("PRIMARY KEY (b, a)",)]


def test_rows_that_are_nothing_but_a_key_can_be_upserted(open_exporter: Open, query: Query) -> None:
    exporter = open_exporter(if_exists="upsert", key=["n"])
    exporter.write([{"n": 1}, {"n": 1}], "0:0:0")
    exporter.write([{"n": 1}, {"n": 2}], "0:2:0")
    assert query("SELECT n FROM numbers ORDER BY n") == [(1,), (2,)]


@pytest.mark.parametrize(
    "index",
    [
        "",
        "CREATE UNIQUE INDEX ON numbers (n, t)",
        "CREATE UNIQUE INDEX ON numbers (n) WHERE n > 0",
        "CREATE UNIQUE INDEX ON numbers (abs(n))",
        "CREATE INDEX ON numbers (n)",
        "ALTER TABLE numbers ADD UNIQUE (n) DEFERRABLE",
    ],
)
def test_a_key_without_a_unique_index_is_refused(open_exporter: Open, query: Query, index: str) -> None:
    query(f"CREATE TABLE numbers (n int, t text); {index}")
    exporter = open_exporter(if_exists="upsert", key=["n"])
    with pytest.raises(
        SinkError, match=r'no unique index is on the key \'n\'.*CREATE UNIQUE INDEX ON "public"."numbers"'
    ):
        exporter.write([{"n": 1}])


def test_a_unique_index_with_more_columns_beside_its_key_will_do(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int, t text); CREATE UNIQUE INDEX ON numbers (n) INCLUDE (t)")
    exporter = open_exporter(if_exists="upsert", key=["n"])
    exporter.write([{"n": 1, "t": "a"}], "0:0:0")
    exporter.write([{"n": 1, "t": "b"}], "0:1:0")
    assert query("SELECT * FROM numbers") == [(1, "b")]


@pytest.mark.fault("C7")
@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    ("rows", "row", "column", "reason"),
    [
        ([{"n": 1}, {"n": None}], 2, "n", "must not be missing"),
        ([{"n": 1, "u": 1}, {"n": 2, "u": 2}, {"n": 3, "u": 1}], 3, None, "unique constraint 'numbers_u_key'"),
        ([{"n": 1, "t": "x"}, {"n": 2, "t": f"{SECRET}\x00"}], 2, "t", "NUL byte"),
        ([{"n": 1}, {"n": 2**62}], 2, "n", "out of the range of integer"),
        ([{"n": 1, "t": "x"}, {"n": 2, "t": SECRET * 20}], 2, "t", "too long for character varying"),
        ([{"n": number} for number in (*range(1, 50), -5, 60)], 50, None, "check constraint 'positive'"),
        ([{"n": 1, "m": 1}, {"n": 2, "m": None}], 2, "m", "must not be missing"),
    ],
)
def test_a_row_that_cannot_be_merged_is_placed(
    open_exporter: Open, query: Query, rows: list[dict[str, Any]], row: int, column: str | None, reason: str
) -> None:
    query(
        "CREATE TABLE numbers (n int CONSTRAINT positive CHECK (n > 0), t varchar(100), u int UNIQUE, "
        "m int NOT NULL DEFAULT 0); CREATE UNIQUE INDEX ON numbers (n); INSERT INTO numbers VALUES (1, 'old')"
    )
    exporter = open_exporter(if_exists="upsert", key=["n"])
    with pytest.raises(RowError) as caught:
        exporter.write(rows, "0:1:9")
    assert (caught.value.row, caught.value.column) == (row, column)
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)
    assert query("SELECT n, t FROM numbers") == [(1, "old")]
    assert exporter.write([{"n": 100}], "0:2:9") == 1


def test_rows_without_the_key_are_refused(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY, t text)")
    exporter = open_exporter(if_exists="upsert", key=["n"])
    with pytest.raises(SinkError, match="the rows have no column 'n', and 'key' names it"):
        exporter.write([{"t": "x"}])


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"if_exists": "upsert"}, "key"),
        ({"key": []}, "key"),
        ({"key": ["a", "a"]}, "key"),
        ({"key": ["a"], "columns": {"a": "b"}}, "key"),
        ({"columns": {"a": "b", "c": "b"}}, "columns"),
    ],
)
def test_configs_that_cannot_work_are_refused(config: dict[str, Any], where: str) -> None:
    faults = PostgresExporterBloc.faults(PostgresExporterConfig(table_name="t", **config))
    assert [key for key, _ in faults] == [where]


@pytest.mark.parametrize("if_exists", ["replace", "append", "swap"])
def test_a_table_evolves(open_exporter: Open, query: Query, if_exists: str) -> None:
    query("CREATE TABLE numbers (n int)")
    exporter = open_exporter(if_exists=if_exists, new_columns="evolve")
    exporter.write([{"n": 1}], "0:0:0")
    exporter.write([{"n": 2, "when": "x", "d": 0.5}], "0:1:0")
    exporter.write([{"n": 3}], "0:2:0")
    exporter.close()
    assert query('SELECT n, "when", d FROM numbers ORDER BY n') == [(1, None, None), (2, "x", 0.5), (3, None, None)]


def test_an_upserted_table_evolves(open_exporter: Open, query: Query) -> None:
    exporter = open_exporter(if_exists="upsert", key=["n"], new_columns="evolve")
    exporter.write([{"n": 1}], "0:0:0")
    exporter.write([{"n": 1, "t": "x"}], "0:1:0")
    assert query("SELECT * FROM numbers") == [(1, "x")]


@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_column_that_came_with_a_refused_item_comes_again(open_exporter: Open, query: Query, if_exists: str) -> None:
    query("CREATE TABLE numbers (n int CHECK (n > 0))")
    exporter = open_exporter(if_exists=if_exists, new_columns="evolve")
    with pytest.raises(RowError):
        exporter.write([{"n": -1, "t": "x"}], "0:0:0")
    exporter.write([{"n": 1, "t": "y"}], "0:1:0")
    exporter.close(Ending.COMPLETED_WITH_ERRORS)
    assert query("SELECT * FROM numbers") == [(1, "y")]


def test_new_columns_can_be_discarded(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int)")
    exporter = open_exporter(new_columns="discard")
    exporter.write([{"n": 1, "t": SECRET}, {"n": 2, "t": SECRET}], "0:0:0")
    exporter.write([{"n": 3}], "0:1:0")
    exporter.close()
    assert query("SELECT * FROM numbers") == [(1,), (2,), (3,)]
    assert exporter.bloc.outputs() == {"table": "public.numbers", "discarded_columns": {"t": 2}}


FACTS = """
SELECT pg_get_userbyid(relowner), relacl::text, reloptions, obj_description(c.oid),
  (SELECT array_agg((i.relname, pg_get_indexdef(i.oid), x.indisprimary)::text ORDER BY i.relname)
     FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE indrelid = c.oid),
  (SELECT array_agg((conname, pg_get_constraintdef(k.oid))::text ORDER BY conname)
     FROM pg_constraint k WHERE conrelid = c.oid),
  (SELECT array_agg((attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attacl,
     col_description(c.oid, attnum), pg_get_expr(adbin, adrelid),
     pg_get_serial_sequence('numbers', attname))::text ORDER BY attnum)
     FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = c.oid AND attnum > 0)
FROM pg_class c WHERE relname = 'numbers'
"""
CATALOGUE = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"


@pytest.mark.promise("P18")
def test_a_swapped_table_is_like_the_old_one_in_all_but_its_rows(open_exporter: Open, query: Query) -> None:
    query("CREATE ROLE reader; CREATE ROLE maker")
    try:
        query(
            "CREATE TABLE numbers (n int PRIMARY KEY, serial serial, id int GENERATED BY DEFAULT AS IDENTITY, "
            "t text DEFAULT 'd' CONSTRAINT odd CHECK (t <> 'x'), twice int GENERATED ALWAYS AS (n * 2) STORED, "
            "u int, CONSTRAINT named UNIQUE (u)) WITH (fillfactor = 70); "
            'CREATE INDEX "an ""index" ON numbers (t); CREATE INDEX second ON numbers (t); '
            "CREATE INDEX partial ON numbers (lower(t)) WHERE n > 1; "
            "COMMENT ON TABLE numbers IS 'it''s mine'; COMMENT ON COLUMN numbers.n IS 'a number'; "
            "ALTER TABLE numbers OWNER TO maker; GRANT SELECT ON numbers TO reader WITH GRANT OPTION; "
            "GRANT SELECT ON numbers TO PUBLIC; GRANT UPDATE (t) ON numbers TO reader; "
            "ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO reader; "
            "INSERT INTO numbers (n, u) SELECT i, i FROM generate_series(1, 10) AS i"
        )
        exporter = open_exporter(if_exists="append", table_name="others")  # the ledger's tables
        exporter.write([{"n": 1}])
        before, names = query(FACTS), query(CATALOGUE)
        swapping = open_exporter(if_exists="swap", line="line-2")
        swapping.write([{"n": 1, "u": 1}, {"n": 2, "u": 2}], "0:0:0")
        with pytest.raises(RowError, match=r"table public\.numbers, row 1: .*unique constraint"):
            swapping.write([{"n": 1, "u": 9}], "0:2:0")
        assert query("SELECT count(*) FROM numbers") == [(10,)]
        swapping.close()
        assert query(FACTS) == before
        assert query(CATALOGUE) == names
        assert query("SELECT n, serial, id, twice FROM numbers ORDER BY n") == [(1, 11, 1, 2), (2, 12, 2, 4)]
        assert query("INSERT INTO numbers (n) VALUES (3) RETURNING id, serial") == [(11, 14)]
    finally:
        query("SET lock_timeout = '1s'; DROP OWNED BY reader, maker; DROP ROLE reader; DROP ROLE maker")


@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    ("obstacle", "words"),
    [
        ("CREATE VIEW v AS SELECT * FROM numbers", "is read by a view"),
        ("CREATE TABLE c (n int REFERENCES numbers)", "is referred to by the foreign key c_n_fkey"),
        (
            "ALTER TABLE numbers ADD FOREIGN KEY (n) REFERENCES numbers",
            "foreign key",
        ),
        (
            "CREATE TRIGGER w BEFORE UPDATE ON numbers EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "has the trigger w",
        ),
        ("ALTER TABLE numbers ENABLE ROW LEVEL SECURITY", "has row security"),
        ("CREATE TABLE child () INHERITS (numbers)", "inherits or is inherited"),
        ("ALTER TABLE numbers REPLICA IDENTITY FULL", "has a replica identity"),
        ("ALTER TABLE numbers SET UNLOGGED", "is unlogged"),
    ],
)
def test_what_a_swap_cannot_carry_over_is_refused(open_exporter: Open, query: Query, obstacle: str, words: str) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers VALUES (1)")
    query(obstacle)
    exporter = open_exporter(if_exists="swap")
    with pytest.raises(SinkError, match=f"{words}.*which a swap cannot carry over"):
        exporter.write([{"n": 2}])
    exporter.close(Ending.FAILED)
    assert query("SELECT n FROM numbers") == [(1,)]


@pytest.mark.promise("P18")
def test_a_swap_shuts_readers_out_for_its_last_moment_alone(open_exporter: Open, query: Query, database: str) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers SELECT generate_series(1, 1000)")
    with psycopg.connect(database) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        count = sql.SQL("SELECT count(*) FROM numbers")
        assert reader.execute(count).fetchone() == (1000,)
        exporter = open_exporter(if_exists="swap", lock_timeout_s=0.2)
        exporter.write([{"n": 1}])
        assert query(count) == [(1000,)]
        with pytest.raises(SinkError, match="locked it for longer"):
            exporter.close()
        assert query(count) == [(1000,)]
        reader.commit()
        again = open_exporter(if_exists="swap", token=2)
        again.write([{"n": 1}])
        again.close()
        assert query(count) == [(1,)]


@pytest.mark.promise("P18")
@pytest.mark.parametrize("if_exists", ["swap", "replace", "upsert", "append"])
def test_a_failed_run_leaves_what_whole_runs_write_as_it_was(open_exporter: Open, query: Query, if_exists: str) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY, t text); INSERT INTO numbers VALUES (1, 'old')")
    exporter = open_exporter(if_exists=if_exists, key=["n"])
    with pytest.raises(RowError):
        exporter.write([{"n": 2, "t": "new"}, {"n": None, "t": "new"}], "0:0:0")
    exporter.close(Ending.FAILED)
    assert query("SELECT * FROM numbers") == [(1, "old")]
    assert query("SELECT count(*) FROM cableway_commits") == [(0,)]


def test_a_swap_makes_a_table_that_is_not_there(open_exporter: Open, query: Query) -> None:
    for line, rows in (("line-1", [{"n": 1}]), ("line-2", [{"n": 2}])):
        exporter = open_exporter(if_exists="swap", key=["n"], line=line)
        exporter.write(rows)
        exporter.close()
        assert query("SELECT n FROM numbers") == [(rows[0]["n"],)]


def test_a_swap_of_a_run_without_items_empties_the_table(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
    open_exporter(if_exists="swap").close()
    assert query("SELECT n FROM numbers") == []
