"""What arrives by COPY in binary form is what arrives as text."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from typing import Any, LiteralString, cast

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from cableway.blocs.postgres.copy_binary import binary_chunks
from cableway.blocs.postgres.copy_format import csv_chunks, fitted, postgres_type
from cableway.blocs.tables import library

pa = library("pyarrow")
UTC = dt.UTC
MOMENTS = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))  # noqa: DTZ001 - one type has no zone
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
COLUMNS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "small": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "whole": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "big": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "short": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "yes": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates()),
    "moment": (pa.timestamp("us"), MOMENTS),
    "second": (pa.timestamp("s"), MOMENTS.map(lambda moment: moment.replace(microsecond=0))),
    "instant": (pa.timestamp("us", "UTC"), MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC))),
    "text": (pa.string(), TEXTS),
    "wide": (pa.large_string(), TEXTS),
    "bytes": (pa.binary(), st.binary(max_size=8)),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, (_, values) in COLUMNS.items()}), max_size=8)


def table_of(rows: list[dict[str, Any]]) -> Any:
    arrays = {name: pa.array([row[name] for row in rows], kind) for name, (kind, _) in COLUMNS.items()}
    return pa.table(arrays)


def stored(connection: psycopg.Connection[Any], table: Any, types: dict[str, str], *, binary: bool) -> list[Any]:
    """The rows as the server tells them after a COPY, which is then rolled back."""
    columns = SQL(", ").join(
        SQL("{} {}").format(Identifier(name), SQL(cast("LiteralString", types[name]))) for name in types
    )
    with connection.transaction(force_rollback=True):
        connection.execute(SQL("SELECT set_config('TimeZone', 'UTC', true)"))
        connection.execute(SQL("CREATE TEMPORARY TABLE target ({}) ON COMMIT DROP").format(columns))
        form = SQL("binary" if binary else "csv")
        rows = fitted(table, types, "target")
        chunks = binary_chunks(table, types) if binary else csv_chunks(rows)
        assert chunks is not None
        with connection.cursor().copy(SQL("COPY target FROM STDIN (FORMAT {})").format(form)) as copy:
            for chunk in chunks:
                copy.write(chunk)
        return connection.execute(SQL("SELECT to_jsonb(target)::text FROM target")).fetchall()


def test_binary_says_what_text_says(database: str) -> None:
    types = {name: postgres_type(kind) for name, (kind, _) in COLUMNS.items()}
    with psycopg.connect(database) as connection:

        @settings(max_examples=15, deadline=None)
        @given(rows=ROWS)
        def holds(rows: list[dict[str, Any]]) -> None:
            table = table_of(rows)
            assert stored(connection, table, types, binary=True) == stored(connection, table, types, binary=False)

        holds()


def test_columns_that_are_there_already_are_met(database: str) -> None:
    table = pa.table(
        {
            "n": pa.array([1.0, float("nan")]),
            "s": ["{}", None],
            "j": ['{"a": 1}', None],
            "f": pa.array([0.5, None], pa.float32()),
        }
    )
    types = {"n": "smallint", "s": "json", "j": "jsonb", "f": "double precision"}
    with psycopg.connect(database) as connection:
        rows = stored(connection, table, types, binary=True)
    assert [json.loads(row) for (row,) in rows] == [
        {"n": 1, "s": {}, "j": {"a": 1}, "f": 0.5},
        {"n": None, "s": None, "j": None, "f": None},
    ]


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (pa.array([2**40]), "integer"),
        (pa.array(["1"]), "integer"),
        (pa.array([1.5]), "real"),
        (pa.array([1.5]), "integer"),
        (pa.array([1.5]), "numeric"),
        (pa.array([1], pa.timestamp("ns")), "timestamp without time zone"),
        (pa.array([2**63 - 1], pa.timestamp("us")), "timestamp without time zone"),
        (pa.array([-(2**31)], pa.int32()).cast(pa.date32()), "date"),
        (pa.array([[1]]), "jsonb"),
    ],
)
def test_what_has_no_such_form_is_left_to_text(values: Any, target: str) -> None:
    assert binary_chunks(pa.table({"v": values}), {"v": target}) is None


def test_many_rows_come_in_pieces(database: str) -> None:
    rows = 120_000
    table = pa.table(
        {"n": pa.array(range(rows)), "s": pa.array(["x" * (n % 7) if n % 3 else None for n in range(rows)])}
    )
    chunks = binary_chunks(table, {"n": "bigint", "s": "text"})
    assert chunks is not None
    assert len(list(chunks)) > 2
    with psycopg.connect(database) as connection:
        said = stored(connection, table, {"n": "bigint", "s": "text"}, binary=True)
    assert [json.loads(row) for (row,) in (said[0], said[-1])] == [
        {"n": 0, "s": None},
        {"n": rows - 1, "s": "x" * ((rows - 1) % 7)},
    ]


NO_PANDAS = """
import sys
from cableway.blocs.postgres.copy_binary import binary_chunks
from cableway.blocs.tables import library

pa = library("pyarrow")
text = b'''n,d,b,t,s,e
1,2020-01-01,true,2020-01-01 00:00:00,x,1.5
,,,,,
2,2020-01-02,false,2020-01-01 00:00:01,y,2.5
'''
table = library("pyarrow.csv").read_csv(pa.py_buffer(text))
types = {
    "n": "bigint", "d": "date", "b": "boolean", "t": "timestamp without time zone", "s": "jsonb", "e": "integer"
}
whole = {**types, "e": "double precision"}
for rows in (table, table.slice(0, 1), table.slice(2)):
    assert len(list(binary_chunks(rows, whole))) == 3
assert len(list(binary_chunks(table.drop_columns("e").slice(0, 1), types))) == 3
sys.exit("pandas" in sys.modules)
"""


def test_pandas_is_not_loaded_for_it() -> None:
    pytest.importorskip("pandas")
    assert subprocess.run([sys.executable, "-c", NO_PANDAS], check=False).returncode == 0


def test_rows_of_one_width_need_no_joining() -> None:
    table = pa.table({"n": pa.array([1, -1]), "yes": pa.array([True, False])})
    chunks = binary_chunks(table, {"n": "bigint", "yes": "boolean"})
    assert chunks is not None
    rows = [
        b"\0\2\0\0\0\x08" + number + b"\0\0\0\1" + yes
        for number, yes in ((b"\0" * 7 + b"\1", b"\1"), (b"\xff" * 8, b"\0"))
    ]
    assert [bytes(chunk) for chunk in chunks][1:] == [b"".join(rows), b"\xff\xff"]
