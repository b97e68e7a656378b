from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cableway.blocs.aggregate import AggregateBloc, AggregateConfig
from cableway.blocs.example_transformer import ExampleTransformerBloc, ExampleTransformerConfig
from cableway.blocs.pass_through import PassThroughBloc, PassThroughConfig
from cableway.blocs.tables import library
from cableway.catalog import Catalog
from cableway.context import MissingDataError
from cableway.errors import RowError
from tests.unit.blocs.contexts import context_of

pa = library("pyarrow")
ROWS = st.lists(
    st.tuples(st.sampled_from(["x", "y", "z"]), st.one_of(st.none(), st.integers(-50, 50))), min_size=1, max_size=30
)


def aggregate(**config: Any) -> AggregateBloc:
    return AggregateBloc("sums", AggregateConfig(**config))


def transformed(bloc: Any, value: Any) -> Any:
    return bloc.transform(context_of(bloc, {"source": value}))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, size=st.integers(1, 10))
def test_a_gather_over_parts_is_the_aggregate_of_the_whole(rows: list[tuple[str, int | None]], size: int) -> None:
    bloc = aggregate(group_by=["k"], count="rows", sum=["v"], min=["lo"], max=["hi"], ratio={"mean": ["v", "rows"]})

    def table(part: list[tuple[str, int | None]]) -> Any:
        values = pa.array([value for _, value in part], pa.int64())
        return pa.table({"k": [key for key, _ in part], "v": values, "lo": values, "hi": values})

    state = bloc.initial()
    for start in range(0, len(rows), size):
        state = bloc.fold(state, context_of(bloc, {"source": table(rows[start : start + size])}))
    assert bloc.finish(state).to_pydict() == transformed(bloc, table(rows)).to_pydict()


def test_groups_come_in_order_with_counts_and_ratios() -> None:
    bloc = aggregate(group_by=["k"], count="n", sum=["v"], ratio={"mean": ["v", "n"]})
    table = pa.table({"k": ["b", "a", None, "b"], "v": [1, 2, 5, 2]})
    assert transformed(bloc, table).to_pydict() == {
        "k": ["a", "b", None],
        "n": [1, 2, 1],
        "v": [2, 3, 5],
        "mean": [2.0, 1.5, 5.0],
    }


def test_without_groups_there_is_one_row() -> None:
    assert transformed(aggregate(count="n", max=["v"]), [{"v": 3}, {"v": 7}]).to_pydict() == {"n": [2], "v": [7]}


def test_nothing_divided_by_nothing_is_missing() -> None:
    bloc = aggregate(sum=["a", "b"], ratio={"r": ["a", "b"]})
    assert transformed(bloc, [{"a": 0, "b": 0}]).to_pydict()["r"] == [None]


def test_a_gather_over_no_item_makes_nothing() -> None:
    bloc = aggregate(sum=["a"])
    assert bloc.finish(bloc.initial()) is None


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingDataError, match=r"'sums' wants the column 'w', and its input has: 'v'"):
        transformed(aggregate(sum=["w"]), [{"v": 1}])


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"group_by": ["a"]}, "/sum"),
        ({"group_by": ["a"], "sum": ["a"]}, "/group_by"),
        ({"sum": ["a"], "ratio": {"r": ["a", "b"]}}, "/ratio/r"),
    ],
)
def test_an_aggregate_that_makes_no_sense_is_refused(config: dict[str, Any], pointer: str) -> None:
    _, faults = Catalog().normalise("aggregate", config)
    assert [fault.pointer for fault in faults] == [pointer]


def test_every_number_is_multiplied_and_whole_ones_stay_whole() -> None:
    rows = pa.table({"i": [1, None], "f": [1.5, 2.0], "s": ["a", "b"], "b": [True, False]})
    doubled = transformed(ExampleTransformerBloc("x", ExampleTransformerConfig(factor=2)), rows)
    assert pa.Table.from_pandas(doubled).to_pydict() == {
        "i": [2, None],
        "f": [3.0, 4.0],
        "s": ["a", "b"],
        "b": [True, False],
    }
    assert transformed(ExampleTransformerBloc("x", ExampleTransformerConfig(factor=0.5)), rows)["i"][0] == 0.5


async def test_pass_through_hands_on_what_it_gets() -> None:
    bloc = PassThroughBloc("p", PassThroughConfig())
    value = object()
    assert await bloc.transform(context_of(bloc, {"a": value})) is value
    assert await bloc.transform(context_of(bloc)) is None


def test_a_column_of_nothing_but_nulls_adds_up_to_nothing() -> None:
    table = pa.table({"k": ["a", "a"], "v": pa.nulls(2)})
    assert transformed(aggregate(group_by=["k"], sum=["v"], min=[], count="n"), table).to_pylist() == [
        {"k": "a", "n": 2, "v": None}
    ]


def test_text_cannot_be_added_up() -> None:
    with pytest.raises(RowError, match=r"^sums, column 'v': a column of type string cannot be aggregated so$"):
        transformed(aggregate(group_by=["k"], sum=["v"]), pa.table({"k": ["a"], "v": ["x"]}))
