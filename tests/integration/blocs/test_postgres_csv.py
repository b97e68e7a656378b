"""Rows that go from Postgres to a CSV file as the bytes that they came as."""

from __future__ import annotations

import datetime as dt
import io
import json
import pickle
import random
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cableway.blocs.csv_files.exporter import CsvEncoder
from cableway.blocs.csv_files.rows import CsvRows
from cableway.blocs.kinds import Resources
from cableway.blocs.postgres.loader import PostgresLoaderBloc, PostgresLoaderConfig
from cableway.blocs.tables import library, to_arrow
from cableway.context import RunContext, RunFacts
from cableway.errors import SourceError
from cableway.flow.packing import pack
from cableway.job import JobRequest, run_job
from cableway.settings import DatabaseSettings
from tests.integration.blocs.conftest import Query

CONTEXT = RunContext(RunFacts(run_id="run", pipeline="p"), bloc="load")
TYPES = (
    "small int2, whole int, big bigint, half real, number float8, exact numeric(12, 2), yes bool, day date, "
    "at timestamp, moment timestamptz, note text, short varchar(9), id uuid, raw bytea, doc jsonb"
)
TEXTS = ("", "plain", 'with "quotes"', "two\nlines", "a,b", "\r", "\\.", "grüße", "NULL", "null", "\\N", " ", "'")
Load = Callable[..., list[Any]]


@pytest.fixture
def load(database: str) -> Load:
    def values(*, as_csv: bool, **config: Any) -> list[Any]:
        given: dict[str, Any] = config if "query" in config else {"table_name": "mixed", **config}
        bloc = PostgresLoaderBloc("load", PostgresLoaderConfig(**given))
        bloc.bind(Resources(database=DatabaseSettings(url=database, connect_budget_s=0), as_csv=as_csv))
        bloc.open(CONTEXT)
        loaded = bloc.load(CONTEXT)
        return [value for _, value in loaded] if bloc.batched else [loaded]

    return values


def written(values: list[Any]) -> bytes:
    file = io.BytesIO()
    encoder = CsvEncoder(file, ",", None, header=True)
    for value in values:
        encoder.write(value)
    encoder.finish()
    return file.getvalue()


def some_row(chance: random.Random) -> list[Any]:
    instant = dt.datetime(1, 1, 1) + dt.timedelta(microseconds=chance.randrange(315_537_897_599_999_999))  # noqa: DTZ001
    rounded = instant.replace(microsecond=chance.choice((0, 0, 1, 100_000, 123_456, 999_999)))
    row: list[Any] = [
        chance.randrange(-(2**15), 2**15),
        chance.randrange(-(2**31), 2**31),
        chance.randrange(-(2**63), 2**63),
        chance.choice((0.0, -0.0, 0.5, -1.25, 1024.0)),
        chance.choice((0.0, -0.0, 0.1, -123.456, 1e20, 1 / 3, 98765.4321)),
        Decimal(chance.randrange(-(10**12), 10**12)).scaleb(-2),
        chance.random() < 0.5,
        instant.date(),
        rounded,
        rounded.replace(year=chance.randrange(2, 9999), day=1, tzinfo=dt.UTC),
        chance.choice(TEXTS),
        chance.choice(TEXTS)[:9],
        uuid.UUID(int=chance.getrandbits(128)),
        chance.randbytes(chance.randrange(4)),
        json.dumps({"a": chance.choice(TEXTS), "b": [1, None]}),
    ]
    return [None if chance.random() < 0.2 else value for value in row]


def fill(query: Query, rows: list[list[Any]]) -> None:
    query(f"CREATE TABLE mixed (n serial PRIMARY KEY, {TYPES})")
    names = ", ".join(part.split()[0] for part in TYPES.replace("(12, 2)", "").split(", "))
    for row in rows:
        query(f"INSERT INTO mixed ({names}) VALUES ({', '.join(['%s'] * len(row))})", row)


@pytest.mark.parametrize("seed", range(3))
def test_the_file_is_the_same_byte_for_byte_and_so_is_the_table(load: Load, query: Query, seed: int) -> None:
    fill(query, [some_row(random.Random(1000 * seed + number)) for number in range(150)])
    plain, passed = load(as_csv=False, batch_size=40), load(as_csv=True, batch_size=40)
    assert all(isinstance(value, CsvRows) for value in passed)
    assert [value.num_rows for value in passed] == [40, 40, 40, 30]
    assert written(passed) == written(plain)
    assert [to_arrow(value) for value in passed] == plain


def test_numbers_with_an_exponent_look_as_postgres_writes_them(load: Load, query: Query) -> None:
    numbers = [1e-5, 1.5e-7, 1e14, 123456789012345.0, 1e300, -1e-300]
    plain = load(as_csv=False, query="SELECT unnest(%(n)s::float8[]) AS n", parameters={"n": str(set(numbers))})
    passed = load(as_csv=True, query="SELECT unnest(%(n)s::float8[]) AS n", parameters={"n": str(set(numbers))})
    read = library("pyarrow.csv").read_csv
    assert b"1e-05" in written(passed)
    assert read(io.BytesIO(written(passed))) == read(io.BytesIO(written(plain)))


@pytest.mark.parametrize("value", ["'NaN'::float8", "'-Infinity'::real", "'Infinity has a text'::text"])
def test_rows_that_look_odd_are_parsed_and_written_as_ever(load: Load, value: str) -> None:
    query = f"SELECT {value} AS odd"
    passed = load(as_csv=True, query=query)
    assert not isinstance(passed[0], CsvRows)
    assert written(passed) == written(load(as_csv=False, query=query))


@pytest.mark.parametrize("as_csv", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        "date 'infinity'",
        "date '0044-03-15 BC'",
        "date '10000-01-01'",
        "timestamp '-infinity'",
        "timestamp '0044-03-15 12:00:00.123456 BC'",
        "timestamp '10000-01-01 00:00:00.123456'",
        "timestamptz '12000-01-01'",
        "'NaN'::numeric(5, 2)",
    ],
)
def test_values_that_arrow_cannot_hold_are_refused_either_way(load: Load, value: str, *, as_csv: bool) -> None:
    with pytest.raises(SourceError, match="column 'odd'"):
        load(as_csv=as_csv, query=f"SELECT 1 AS n, {value} AS odd")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1.5::numeric AS n",
        "SELECT 1e-9::numeric(20, 10) AS n",
        "SELECT time '12:00' AS n",
        "SELECT ARRAY[1] AS n",
    ],
)
def test_types_that_arrow_writes_otherwise_come_as_tables(load: Load, query: str) -> None:
    assert not isinstance(load(as_csv=True, query=query)[0], CsvRows)


def test_they_come_as_tables_where_more_is_looked_at_than_is_written(load: Load, query: Query) -> None:
    fill(query, [some_row(random.Random(number)) for number in range(3)])
    more = load(as_csv=True, columns=["note"], key=["n"], batch_size=2)
    instants = load(as_csv=True, where="at IS NOT NULL", key=["at"], batch_size=2)
    assert not any(isinstance(value, CsvRows) for value in more + instants)
    assert all(isinstance(value, CsvRows) for value in load(as_csv=True, key=["n"], batch_size=2))


def test_to_a_worker_they_go_as_a_table(load: Load) -> None:
    (rows,) = load(as_csv=True, query="SELECT 1 AS n, 'a' AS t")
    assert rows.slice(0, 1).num_rows == 1
    packed, buffers = pack(rows)
    assert pickle.loads(packed, buffers=buffers).to_pylist() == [{"n": 1, "t": "a"}]


@pytest.mark.parametrize(("between", "passes"), [([], True), (["select"], False)])
def test_a_job_passes_them_only_where_nobody_else_reads(
    database: str, query: Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: list[str], *, passes: bool
) -> None:
    query("CREATE TABLE small AS SELECT n, n % 2 = 0 AS even, 'note ' || n AS note FROM generate_series(1, 25) AS n")
    seen: list[bool] = []
    write = CsvEncoder.write

    def spied(self: CsvEncoder, table: Any) -> None:
        seen.append(isinstance(table, CsvRows))
        write(self, table)

    monkeypatch.setattr(CsvEncoder, "write", spied)
    select = {"columns": ["n", "even", "note"]}
    stages = [
        {"name": "in", "blocs": [bloc("load", "postgres_loader", table_name="small", batch_size=10)]},
        *({"name": kind, "blocs": [bloc("between", kind, **select)]} for kind in between),
        {"name": "out", "blocs": [bloc("store", "csv_exporter", file_path="small.csv")]},
    ]
    document = tmp_path / "pipeline.json"
    document.write_text(json.dumps({"name": "out", "stages": stages}))
    variables = {"DATABASE_URL": database, "CABLEWAY_FILE_ROOT": str(tmp_path)}
    assert run_job(JobRequest(file=str(document)), variables) == 0
    assert any(seen) is passes
    lines = (tmp_path / "small.csv").read_text().splitlines()
    assert lines[:3] == ['"n","even","note"', '1,false,"note 1"', '2,true,"note 2"']
    assert len(lines) == 26


def bloc(name: str, bloc_type: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "bloc_type": bloc_type, "config": config}
