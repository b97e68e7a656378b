"""The small blocs that shape tables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cableway.blocs.shaping.cast import CastBloc, CastConfig
from cableway.blocs.shaping.conditions import Condition
from cableway.blocs.shaping.deduplicate import DeduplicateBloc, DeduplicateConfig
from cableway.blocs.shaping.filter import FilterBloc, FilterConfig
from cableway.blocs.shaping.rename import RenameBloc, RenameConfig
from cableway.blocs.shaping.select import SelectBloc, SelectConfig
from cableway.blocs.tables import library
from cableway.catalog import Catalog
from cableway.context import MissingDataError
from cableway.errors import DefinitionError, RowError
from tests.unit.blocs.contexts import context_of

pa = library("pyarrow")
ROWS = st.lists(
    st.tuples(st.sampled_from(["x", "y", None]), st.one_of(st.none(), st.integers(-5, 5))), min_size=0, max_size=25
)


def transformed(bloc: Any, value: Any) -> Any:
    return bloc.transform(context_of(bloc, {"source": value}))


def table(rows: list[tuple[str | None, int | None]]) -> Any:
    return pa.table({"k": pa.array([k for k, _ in rows], pa.string()), "v": pa.array([v for _, v in rows], pa.int64())})


def faults(bloc_type: str, **config: Any) -> list[str]:
    return [f"{fault.pointer}: {fault.message}" for fault in Catalog().normalise(bloc_type, config)[1]]


def test_select_keeps_the_order_that_is_asked_for() -> None:
    bloc = SelectBloc("few", SelectConfig(columns=["v", "k"]))
    assert transformed(bloc, [{"k": 1, "other": 2, "v": 3}]).column_names == ["v", "k"]
    with pytest.raises(MissingDataError, match=r"'few' wants the column 'k', and its input has: 'v'"):
        transformed(bloc, [{"v": 1}])
    assert faults("select", columns=["a", "a"]) == ["/columns: names 'a' twice"]


def test_rename_can_swap_and_refuses_two_of_a_name() -> None:
    bloc = RenameBloc("names", RenameConfig(columns={"a": "b", "b": "a"}))
    assert transformed(bloc, [{"a": 1, "b": 2, "c": 3}]).to_pylist() == [{"b": 1, "a": 2, "c": 3}]
    with pytest.raises(MissingDataError, match="there is a column 'c' already"):
        transformed(RenameBloc("names", RenameConfig(columns={"a": "c"})), [{"a": 1, "c": 2}])
    assert faults("rename", columns={"a": "c", "b": "c"}) == ["/columns: gives the name 'c' twice"]


def test_cast_knows_the_types_and_cuts_nothing() -> None:
    types = {
        "i": "integer",
        "n": "number",
        "d": "date",
        "t": "timestamptz",
        "b": "boolean",
        "m": "decimal(6,2)",
        "s": "string",
    }
    rows = [{"i": "7", "n": "1.5", "d": "2026-01-31", "t": "2026-01-31T10:00:00Z", "b": "true", "m": "12.50", "s": 5}]
    (made,) = transformed(CastBloc("types", CastConfig(types=types)), rows).to_pylist()
    assert made == {
        "i": 7,
        "n": 1.5,
        "d": date(2026, 1, 31),
        "t": datetime(2026, 1, 31, 10, tzinfo=UTC),
        "b": True,
        "m": Decimal("12.50"),
        "s": "5",
    }
    with pytest.raises(RowError, match=r"types, row 2, column 'v': is no integer$"):
        transformed(CastBloc("types", CastConfig(types={"v": "integer"})), [{"v": 1.0}, {"v": 1.5}])
    assert faults("cast", types={"a": "int", "b": "decimal(40,2)"}) == [
        "/types/a: is no type; there are: boolean, date, integer, number, string, timestamp, timestamptz, decimal(P,S)",
        "/types/b: a decimal has 1 to 38 digits, and no more behind its point",
    ]


def test_rows_that_do_not_fit_become_null_or_are_refused() -> None:
    rows = [{"v": text, "w": "1"} for text in ("1", "secret", "3", "", None, "6")]
    nulled = transformed(CastBloc("types", CastConfig(types={"v": "integer"}, on_bad_row="null")), rows)
    assert nulled.column("v").to_pylist() == [1, None, 3, None, None, 6]
    bloc = CastBloc("types", CastConfig(types={"v": "integer", "w": "integer"}, on_bad_row="reject"))
    kept, *rejected = transformed(bloc, rows)
    assert kept.to_pydict() == {"v": [1, 3, None, 6], "w": [1, 1, 1, 1]}
    assert [(str(each.error), each.row) for each in rejected] == [
        ("types, row 2, column 'v': is no integer", {"v": "secret", "w": "1"}),
        ("types, row 4, column 'v': is no integer", {"v": "", "w": "1"}),
    ]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, value=st.integers(-5, 5), op=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_filter_compares_as_python_does_and_drops_what_is_missing(rows: list[Any], value: int, op: Any) -> None:
    bloc = FilterBloc("some", FilterConfig(where=[Condition(column="v", op=op, value=value)]))
    compare = {
        "==": int.__eq__,
        "!=": int.__ne__,
        "<": int.__lt__,
        "<=": int.__le__,
        ">": int.__gt__,
        ">=": int.__ge__,
    }[op]
    kept = [row for row in rows if row[1] is not None and compare(row[1], value)]
    assert transformed(bloc, table(rows)).equals(table(kept))


@pytest.mark.parametrize(
    ("where", "any_of", "kept"),
    [
        ([{"column": "k", "op": "in", "value": ["x", "z"]}], [], [0, 3]),
        ([{"column": "k", "op": "not in", "value": ["x"]}], [], [1, 3]),
        ([{"column": "k", "op": "is null"}], [], [2]),
        ([{"column": "k", "op": "is not null"}, {"column": "v", "op": ">", "value": 1}], [], [1, 3]),
        ([], [{"column": "k", "op": "==", "value": "x"}, {"column": "v", "op": "==", "value": 3}], [0, 2]),
        ([{"column": "d", "op": ">=", "value": "2026-02-01"}], [], [1]),
        ([{"column": "k", "op": "starts with", "value": "y"}], [], [1]),
        ([{"column": "v", "op": ">", "value": 1.5}], [], [1, 2, 3]),
    ],
)
def test_filter_conditions(where: list[Any], any_of: list[Any], kept: list[int]) -> None:
    days = [date(2026, 1, 1), date(2026, 2, 1), None, date(2025, 1, 1)]
    rows = pa.table({"k": ["x", "yy", None, "z"], "v": [1, 2, 3, 4], "d": days, "n": [0, 1, 2, 3]})
    # As a checked config hands them over: as plain mappings.
    bloc = FilterBloc("some", FilterConfig(where=where, any_of=any_of))
    assert transformed(bloc, rows).column("n").to_pylist() == kept


def test_filter_names_the_condition_that_does_not_fit() -> None:
    bloc = FilterBloc("some", FilterConfig(where=[Condition(column="v", op=">", value="secret")]))
    with pytest.raises(
        DefinitionError, match=r"bloc 'some', where/0: the value cannot be compared with column 'v' of type int64"
    ):
        transformed(bloc, [{"v": 1}])
    assert faults("filter") == ["/where: no condition is given"]
    assert faults("filter", where=[{"column": "v", "op": "in", "value": 1}, {"column": "v", "op": "<"}]) == [
        "/where/0/value: 'in' wants a list",
        "/where/1/value: nothing compares with null; use 'is null' or 'is not null'",
    ]
    assert faults("filter", where=[{"column": "v", "op": "~", "value": 1}])[0].startswith("/where/0/op: ")
    assert faults("filter", where=[{"column": "v", "op": "<", "value": 1, "more": 2}]) == [
        "/where/0/more: is not known here; known: column, op, value"
    ]


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, keep=st.sampled_from(["first", "last"]), size=st.integers(1, 7))
def test_deduplicate_keeps_one_of_each_key_in_order(rows: list[Any], keep: Any, size: int) -> None:
    bloc = DeduplicateBloc("sole", DeduplicateConfig(key=["k"], keep=keep))
    firsts = {row[0]: number for number, row in reversed(list(enumerate(rows)))}
    lasts = {row[0]: number for number, row in enumerate(rows)}
    kept = sorted((firsts if keep == "first" else lasts).values())
    assert transformed(bloc, table(rows)).equals(table([rows[number] for number in kept]))
    state = bloc.initial()
    for start in range(0, len(rows), size):
        state = bloc.fold(state, context_of(bloc, {"source": table(rows[start : start + size])}))
    if rows:
        assert bloc.finish(state).equals(table([rows[number] for number in kept]))


def test_without_a_key_the_whole_row_counts() -> None:
    rows = [{"k": "x", "v": None}, {"k": "x", "v": 1}, {"k": "x", "v": None}]
    assert transformed(DeduplicateBloc("sole", DeduplicateConfig()), rows).num_rows == 2
