from __future__ import annotations

import pickle
from typing import Any

import pandas as pd
import pytest

from cableway.blocs.tables import is_tabular, library, require_columns, to_arrow, to_pandas, view_of
from cableway.context import MissingDataError, RunContext
from cableway.errors import RowError
from tests.unit.blocs.contexts import FACTS, TimesBloc

pa = library("pyarrow")


class Pandas(TimesBloc):
    frames = "pandas"


class Arrow(TimesBloc):
    frames = "arrow"


def seen_by(bloc: type[TimesBloc], value: Any) -> Any:
    return RunContext(FACTS, data={"a": value}, inputs=("a",), view=view_of(bloc)).input()


@pytest.mark.parametrize(
    "value",
    [pa.table({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}), [{"a": 1}, {"a": 2}], pa.record_batch({"a": [1, 2]})],
)
def test_a_bloc_gets_tables_in_the_form_that_it_asks_for(value: Any) -> None:
    assert is_tabular(value)
    assert isinstance(seen_by(Pandas, value), pd.DataFrame)
    assert seen_by(Pandas, value)["a"].tolist() == [1, 2]
    assert isinstance(seen_by(Arrow, value), pa.Table)
    assert seen_by(Arrow, value).to_pydict() == {"a": [1, 2]}
    assert seen_by(TimesBloc, value) is value


@pytest.mark.parametrize("value", [None, 5, "text", [], [1, {"a": 1}], {"a": 1}])
def test_other_values_pass_as_they_are(value: Any) -> None:
    assert seen_by(Pandas, value) is value
    assert seen_by(Arrow, value) is value


def test_whole_numbers_with_gaps_stay_whole() -> None:
    frame = to_pandas(pa.table({"n": [2**60 + 1, None], "b": [True, None], "f": [1.5, None], "full": [1, 2]}))
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "boolean", "float64", "Int64"]
    assert to_arrow(frame).to_pydict()["n"] == [2**60 + 1, None]


def test_neighbours_do_not_see_each_others_changes() -> None:
    shared = pd.DataFrame({"a": [1, 2]})
    one, other = seen_by(Pandas, shared), seen_by(Pandas, shared)
    one.loc[0, "a"] = 99
    one["new"] = 0
    assert other["a"].tolist() == [1, 2]
    assert list(shared.columns) == ["a"]


def test_an_index_counts_where_it_has_a_name() -> None:
    frame = pd.DataFrame({"k": ["x", "y", "x"], "v": [1, 2, 3]})
    assert to_arrow(frame[frame["v"] > 1]).column_names == ["k", "v"]
    assert set(to_arrow(frame.groupby("k").sum()).column_names) == {"k", "v"}


def test_rows_may_have_different_keys() -> None:
    assert to_arrow([{"a": 1}, {"b": "x"}]).to_pydict() == {"a": [1, None], "b": [None, "x"]}


@pytest.mark.parametrize(
    ("rows", "row", "reason"),
    [
        ([{"a": "ok"}, {"a": "s3cret\ud800"}], 2, "surrogate"),
        ([{"a": 1}, {"a": "s3cret"}], None, "no one type fits"),
        ([{"a": 2**70}], None, "too large for 64 bits"),
    ],
)
def test_a_column_of_no_one_type_is_named(rows: list[dict[str, Any]], row: int | None, reason: str) -> None:
    for value in (rows, pd.DataFrame(rows, dtype=object)):
        with pytest.raises(RowError, match=reason) as caught:
            to_arrow(value, "bloc 'x'")
        assert caught.value.column == "a"
        assert caught.value.row == row
        assert "s3cret" not in str(caught.value)


def test_a_row_error_crosses_a_process() -> None:
    error = RowError("is bad", where="table t", row=3, column="c")
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == "table t, row 3, column 'c': is bad"
    assert (back.row, back.column, back.code) == (3, "c", "row_refused")


def test_a_missing_column_is_named_with_what_there_is() -> None:
    with pytest.raises(MissingDataError, match=r"'x' wants the column 'c', and its input has: 'a', 'b'"):
        require_columns(pa.table({"a": [1], "b": [2]}), ["a", "c"], "x")
