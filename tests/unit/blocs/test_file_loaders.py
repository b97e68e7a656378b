from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cableway.blocs.file_loader import FileLoaderBloc
from cableway.blocs.incremental import Incremental
from cableway.blocs.jsonl_loader import JsonlLoaderBloc, JsonlLoaderConfig
from cableway.blocs.kinds import Ending, LoaderBloc, Resources
from cableway.blocs.parquet_loader import ParquetLoaderBloc, ParquetLoaderConfig
from cableway.blocs.sql_loader import SqlLoaderBloc, SqlLoaderConfig
from cableway.blocs.tables import library
from cableway.errors import SourceError
from tests.unit.blocs.contexts import context_of
from tests.unit.blocs.loading import csv_loader, items, load, made

pa = library("pyarrow")
parquet = library("pyarrow.parquet")


def jsonl(path: Path | str, **config: Any) -> JsonlLoaderBloc:
    return made(JsonlLoaderBloc("load", JsonlLoaderConfig(file_path=str(path), **config)))


def columnar(path: Path | str, **config: Any) -> ParquetLoaderBloc:
    return made(ParquetLoaderBloc("load", ParquetLoaderConfig(file_path=str(path), **config)))


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_keys_are_columns_and_what_is_nested_is_text(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"n": 1, "s": "x", "o": {"a": [1]}, "mix": 1, "none": None},
        "",
        {"s": "\u00e9\u2028", "more": True, "o": None, "mix": "one", "n": 2},
    )
    assert load(jsonl(path)).to_pydict() == {
        "n": [1, 2],
        "s": ["x", "\u00e9\u2028"],
        "o": ['{"a": [1]}', None],
        "mix": ["1", "one"],
        "none": [None, None],
        "more": [None, True],
    }
    assert load(jsonl(path, columns=["s", "gone"])).to_pydict() == {"s": ["x", "\u00e9\u2028"], "gone": [None, None]}
    (tmp_path / "b.jsonl").write_bytes(b"")
    assert load(jsonl(tmp_path / "b.jsonl")).num_rows == 0


def test_types_hold_for_all_items_and_later_keys_come_where_they_come(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"n": 1}, {"n": 1.5, "d": "2024-02-29T01:02:03Z"}, {"late": 1})
    assert items(jsonl(path, batch_size=1))[0][1] == {"n": [1.0], "d": [None], "late": [None]}
    table = load(jsonl(path, types={"n": "decimal(5,2)", "d": "timestamptz"}))
    assert [str(kind) for kind in table.schema.types] == ["decimal128(5, 2)", "timestamp[us, tz=UTC]", "int64"]


BAD = [
    '{"n": 1}',
    "s3cret",
    '{"n": "s3cret"}',
    "[1]",
    '{"n": NaN}',
    '{"n": 2}',
    "[" * 90_000,
    '{"n": 3, "s": "\\ud800"}',
]


@pytest.mark.fault("F10")
def test_bad_lines_by_policy(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *BAD)
    said: dict[str, Any] = {"batch_size": 50, "types": {"n": "int64", "s": "string"}}
    with pytest.raises(SourceError, match=r"a\.jsonl: row 2: is no JSON") as caught:
        items(jsonl(path, **said))
    assert "s3cret" not in str(caught.value)
    assert items(jsonl(path, on_bad_row="skip", **said)) == [("0:0:0", {"n": [1, 2], "s": [None, None]})]
    found = items(jsonl(path, on_bad_row="dead_letter", **said))
    assert [position for position, _ in found[1:]] == [f"0:0:0:{row}" for row in (1, 2, 3, 4, 6, 7)]
    errors = [value.error for _, value in found[1:]]
    assert [(error.row, error.column) for error in errors] == [
        (2, None), (3, "n"), (4, None), (5, None), (7, None), (8, "s"),
    ]  # fmt: skip
    assert not any("s3cret" in str(error) for error in errors)


@pytest.fixture(params=["jsonl", "jsonl.gz", "parquet"])
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., FileLoaderBloc]:
    """A loader of ten rows in two files."""
    for number, rows in enumerate((range(7), range(7, 10))):
        table = pa.table({"n": list(rows), "s": [f"row {row}" for row in rows]})
        path = tmp_path / f"{number}.{request.param}"
        match request.param:
            case "parquet":
                parquet.write_table(table, path, row_group_size=4)
            case "jsonl":
                lines(path, *table.to_pylist())
            case _:
                text = "\n".join(json.dumps(row) for row in table.to_pylist())
                path.write_bytes(gzip.compress(text.encode()))
    make: Callable[..., FileLoaderBloc] = columnar if request.param == "parquet" else jsonl

    def loader(**config: Any) -> FileLoaderBloc:
        return make(tmp_path / "*", **config)

    return loader


def test_every_position_can_be_taken_up_again(several: Callable[..., FileLoaderBloc]) -> None:
    first = several(batch_size=3)
    found = items(first)
    assert [n for _, value in found for n in value["n"]] == list(range(10))
    plan = first.plan(context_of(first), {})
    for number, (position, _) in enumerate(found):
        again = several(batch_size=3)
        again.open(context_of(again))
        again.follow(plan, {})
        again.resume(position, first.fingerprint(position))
        left = [(name, value.to_pydict()) for name, value in again.load(context_of(again))]
        assert left == found[number:]
        again.close(Ending.SUCCEEDED)
    first.close(Ending.SUCCEEDED)
    assert load(several()).num_rows == 10


def test_what_is_no_parquet_and_other_columns_are_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    assert load(columnar(tmp_path / "1.parquet", columns=["b"])).to_pydict() == {"b": ["x"]}
    with pytest.raises(SourceError, match="has no column 'c'; it has: 'a', 'b'"):
        load(columnar(tmp_path / "1.parquet", columns=["c"]))
    parquet.write_table(pa.table({"a": [1], "b": ["x"], "c": [1]}), tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"2\.parquet: has columns that the first file lacks: 'c'"):
        items(columnar(tmp_path / "*.parquet", batch_size=5))
    (tmp_path / "3.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(SourceError, match=r"3\.parquet: is no whole Parquet file"):
        load(columnar(tmp_path / "3.parquet"))


def asking(query: str, **config: Any) -> SqlLoaderBloc:
    return made(SqlLoaderBloc("ask", SqlLoaderConfig(query=query, **config)))


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, str]:
    """A table of each kind."""
    (tmp_path / "it's.csv").write_text("k,v\n1,one\n2,two\n")
    parquet.write_table(pa.table({"k": [1, 1, 2]}), tmp_path / "facts.parquet")
    lines(tmp_path / "more.jsonl", {"k": 2, "note": "s3cret"})
    return {
        "names": str(tmp_path / "it's.csv"),
        "facts": str(tmp_path / "f*.parquet"),
        "more": str(tmp_path / "more.jsonl"),
    }


def test_a_query_joins_files_of_all_kinds(tables: dict[str, str]) -> None:
    query = (
        "SELECT v, count(*) AS n, max(note) AS note FROM facts JOIN names USING (k) LEFT JOIN more USING (k) "
        "WHERE k >= $low GROUP BY v ORDER BY v"
    )
    bloc = asking(query, files=tables, arguments={"low": 1})
    assert load(bloc).to_pylist() == [{"v": "one", "n": 2, "note": None}, {"v": "two", "n": 1, "note": "s3cret"}]
    bloc.close(Ending.SUCCEEDED)
    stream = asking("SELECT * FROM range(10000)", files={}, batch_size=4000)
    assert not stream.repeats(stream.config)
    assert sum(table.num_rows for _, table in load(stream)) == 10_000
    stream.close(Ending.SUCCEEDED)


@pytest.mark.promise("P26")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
        "SELECT * FROM glob('/*')",
        "COPY names TO '/tmp/out.csv'",
        "SELECT 1; SELECT 2",
        "SELECT v::int FROM names",
    ],
)
def test_a_query_sees_its_files_and_nothing_else(tables: dict[str, str], query: str) -> None:
    bloc = asking(query, files=tables)
    with pytest.raises(SourceError) as caught:
        load(bloc)
    assert "root:" not in str(caught.value)
    assert "'one'" not in str(caught.value)
    bloc.close(Ending.FAILED)


@pytest.mark.promise("P26")
def test_a_querys_files_stay_below_the_root(tables: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.csv").symlink_to(tables["names"])
    for path in ("link.csv", "../it's.csv", tables["names"]):
        bloc = asking("SELECT * FROM t", files={"t": path})
        bloc.bind(Resources(root=str(root)))
        with pytest.raises(SourceError, match=r"lies outside of|leads out of"):
            load(bloc)


def test_what_a_query_cannot_be() -> None:
    def fields(query: str, **files: str) -> list[str]:
        return [name for name, _ in SqlLoaderBloc.faults(SqlLoaderConfig(query=query, files=files))]

    assert fields("SELECT * FROM t", t="data/t.csv.gz") == []
    assert fields("DELETE FROM t", t="../t.csv") == ["query", "files"]
    assert fields("SELECT 1", t="data/t.xlsx") == ["files"]


def lap(bloc: LoaderBloc, state: dict[str, Any]) -> tuple[list[int], dict[str, Any]]:
    """The numbers that a lap from *state* on gives, and the state of the next one."""
    bloc.open(context_of(bloc))
    bloc.follow(json.loads(json.dumps(bloc.plan(context_of(bloc), state))), {})
    loaded: Any = bloc.load(context_of(bloc))
    tables = [loaded] if not bloc.batched else [table for _, table in loaded]
    return [n for table in tables for n in table.column("n").to_pylist()], json.loads(json.dumps(bloc.reached()))


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_of_files_that_grow_and_come_only_what_is_new_is_loaded(
    tmp_path: Path, kind: str, batch_size: int | None
) -> None:
    def write(name: str, *numbers: int) -> None:
        rows = [{"n": n, "at": n // 2} for n in numbers]
        if kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        elif kind == "csv":
            (tmp_path / f"{name}.csv").write_text("n,at\n" + "".join(f"{row['n']},{row['at']}\n" for row in rows))
        else:
            lines(tmp_path / f"{name}.jsonl", *rows)

    def bloc(**more: Any) -> LoaderBloc:
        incremental = {"cursor_field": "at", **more}
        options: dict[str, Any] = {"batch_size": batch_size, "incremental": incremental}
        if kind == "csv":
            return csv_loader(tmp_path / "*.csv", **options)
        return (columnar if kind == "parquet" else jsonl)(tmp_path / f"*.{kind}", **options)

    write("a", 0, 1, 2, 3, 4)
    numbers, state = lap(bloc(), {})
    assert numbers == [0, 1, 2, 3, 4]
    assert lap(bloc(), state)[0] == []
    write("a", 0, 1, 2, 3, 4, 5)
    write("b", 6, 7)
    numbers, state = lap(bloc(), state)
    assert numbers == [5, 6, 7]
    assert lap(bloc(), state) == ([], state)
    stretch = bloc(initial_value=1, end_value=3)
    assert not stretch.keeps_cursor(stretch.config)
    stretch.open(context_of(stretch))
    loaded: Any = stretch.load(context_of(stretch))
    tables = [loaded] if batch_size is None else [table for _, table in loaded]
    assert [n for table in tables for n in table.column("n").to_pylist()] == [2, 3, 4, 5]


def test_a_loader_that_is_taken_up_in_a_lap_goes_on_with_its_new_rows(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *({"n": n} for n in range(8)))
    options: dict[str, Any] = {"batch_size": 2, "incremental": {"cursor_field": "n"}}
    first = jsonl(path, **options)
    first.open(context_of(first))
    plan = first.plan(context_of(first), {"last": 3, "seen": {}})
    first.follow(plan, {})
    first_items: Any = first.load(context_of(first))
    items = list(first_items)
    position, _ = items[1]
    again = jsonl(path, **options)
    again.open(context_of(again))
    again.follow(plan, first.reached())
    again.resume(position, first.fingerprint(position))
    again_items: Any = again.load(context_of(again))
    found = list(again_items)
    assert [(at, table.to_pydict()) for at, table in found] == [(at, table.to_pydict()) for at, table in items[1:]]
    assert again.reached() == first.reached()


def test_a_cursor_field_must_be_read() -> None:
    config = JsonlLoaderConfig(file_path="a.jsonl", columns=["n"], incremental=Incremental(cursor_field="at"))
    assert [place for place, _ in JsonlLoaderBloc.faults(config)] == ["columns"]
