"""Loading only what is new: the highest value, the rows at it, the lag, both ends, and rows without the field."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cableway.blocs import incremental
from cableway.blocs.incremental import Incremental, Watermark, first_plan, reached_together
from cableway.errors import SourceError

Row = dict[str, Any]


def lap(
    config: Incremental, rows: list[Row], state: dict[str, Any] | None = None, *, arrow: bool = False
) -> tuple[list[Row], dict[str, Any]]:
    """The new rows of one lap from *state*, and the state that it leaves, through JSON as a store would have it."""
    mark = Watermark(config, json.loads(json.dumps(first_plan(config, state or {}))), {})
    if arrow:
        pa: Any = pytest.importorskip("pyarrow")
        kept: list[Row] = mark.new_table(pa.Table.from_pylist(rows)).to_pylist() if rows else []
    else:
        kept = [dict(row) for row in mark.new_rows(rows)]
    return kept, json.loads(json.dumps(mark.state()))


def numbered(*values: float) -> list[Row]:
    return [{"id": number, "at": value} for number, value in enumerate(values)]


BY_AT = Incremental(cursor_field="at")


@pytest.mark.parametrize("arrow", [False, True])
def test_loads_everything_first_and_then_only_what_is_new(*, arrow: bool) -> None:
    rows = numbered(1, 2, 3)
    first, state = lap(BY_AT, rows, arrow=arrow)
    again, state = lap(BY_AT, rows, state, arrow=arrow)
    more, state = lap(BY_AT, [*rows, {"id": 9, "at": 3}, {"id": 10, "at": 4}], state, arrow=arrow)
    assert first == rows
    assert again == []
    assert [row["id"] for row in more] == [9, 10]
    assert state["last"] == 4


@pytest.mark.parametrize("arrow", [False, True])
def test_late_rows_within_the_lag_are_loaded_and_the_kept_value_is_not_lowered(*, arrow: bool) -> None:
    config = Incremental(cursor_field="at", lag=5)
    _, state = lap(config, numbered(10, 20), arrow=arrow)
    assert state["last"] == 20
    late = [{"id": 7, "at": 16}, {"id": 8, "at": 14}, {"id": 1, "at": 20}]
    kept, state = lap(config, late, state, arrow=arrow)
    assert [row["id"] for row in kept] == [7]
    assert state["last"] == 20
    assert lap(config, late, state, arrow=arrow)[0] == []


def test_a_primary_key_says_which_rows_are_one() -> None:
    config = Incremental(cursor_field="at", primary_key=("id",))
    _, state = lap(config, [{"id": 1, "at": 5, "note": "a"}])
    kept, _ = lap(config, [{"id": 1, "at": 5, "note": "b"}, {"id": 2, "at": 5, "note": "a"}], state)
    assert [row["id"] for row in kept] == [2]


def test_both_ends_are_kept_and_the_order_ends_the_reading() -> None:
    config = Incremental(cursor_field="at", initial_value=2, end_value=4, row_order="asc")
    mark = Watermark(config, {}, {})
    assert [row["at"] for row in mark.new_rows(numbered(1, 2, 3))] == [2, 3]
    assert not mark.exhausted
    assert mark.new_rows(numbered(4)) == []
    assert mark.exhausted
    falling = Watermark(Incremental(cursor_field="at", initial_value=2, row_order="desc"), {}, {})
    assert [row["at"] for row in falling.new_rows(numbered(3, 2, 1))] == [3, 2]
    assert falling.exhausted


def test_a_cursor_that_was_set_below_the_first_value_goes_before_it() -> None:
    config = Incremental(cursor_field="at", initial_value=20, lag=5)
    assert Watermark(config, first_plan(config, {"last": 3, "seen": {}}), {}).start == -2
    assert Watermark(config, first_plan(config, {"last": 22, "seen": {}}), {}).start == 20, "the lag leads no lower"


@pytest.mark.parametrize("arrow", [False, True])
def test_rows_without_the_field_go_by_the_policy(*, arrow: bool) -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "at": None}, {"id": 2, "at": 3}]
    with pytest.raises(SourceError, match="'at'"):
        lap(BY_AT, rows, arrow=arrow)
    kept, _ = lap(Incremental(cursor_field="at", on_missing="exclude"), rows, arrow=arrow)
    assert [row["id"] for row in kept] == [2]
    kept, _ = lap(Incremental(cursor_field="at", on_missing="include"), rows, arrow=arrow)
    assert [row["id"] for row in kept] == [1, 2]


def test_times_keep_their_type_and_a_text_of_the_config_compares_with_them() -> None:
    config = Incremental(cursor_field="at", initial_value="2026-01-02", lag=3600)
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    rows = [{"id": 0, "at": noon - timedelta(days=1)}, {"id": 1, "at": noon}]
    kept, state = lap(config, rows, arrow=True)
    assert [row["id"] for row in kept] == [1]
    mark = Watermark(config, first_plan(config, state), {})
    assert mark.start == noon - timedelta(hours=1)
    assert mark.last == noon


def test_texts_of_times_are_lagged_as_times() -> None:
    config = Incremental(cursor_field="at", lag=60)
    mark = Watermark(config, {"from": {"last": "2026-01-02T12:00:00Z", "seen": {}}}, {})
    assert mark.start == "2026-01-02T11:59:00Z"
    with pytest.raises(SourceError, match="lag"):
        Watermark(config, {"from": {"last": "abc", "seen": {}}}, {})


def test_a_nested_field_is_reached_by_its_path() -> None:
    config = Incremental(cursor_field="meta.at")
    kept, state = lap(config, [{"meta": {"at": 1}}, {"meta": {"at": 2}}])
    assert len(kept) == 2
    assert state["last"] == 2


@pytest.mark.parametrize(
    ("at", "initial", "said"),
    [
        (1, "x", "int values"),
        (datetime(2026, 1, 5, tzinfo=UTC), 5, "datetime values"),
        (date(2026, 1, 5), 5, "date values"),
        (Decimal(5), "x", "Decimal values"),
    ],
)
def test_values_that_do_not_compare_are_named(at: Any, initial: Any, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        lap(Incremental(cursor_field="at", initial_value=initial), [{"at": at}])


def test_the_hashes_are_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(incremental, "SEEN_AT_MOST", 10)
    _, state = lap(BY_AT, [{"id": number, "at": 1} for number in range(100)])
    assert len(state["seen"]) == 10
    assert "more than 10 rows" in caplog.text


def test_the_stretch_of_a_config_must_have_two_ends_of_one_type() -> None:
    assert list(Incremental(cursor_field="at", end_value=1).faults())
    assert list(Incremental(cursor_field="at", initial_value="a", end_value=1).faults())
    assert not list(Incremental(cursor_field="at", initial_value=0, end_value=1).faults())


@given(st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=6), st.booleans())
def test_growing_sources_are_loaded_once_each(laps: list[list[int]], arrow: bool) -> None:
    """However rows come, in whatever order within a lap: each at or above the highest value so far is loaded once."""
    source: list[Row] = []
    loaded: list[int] = []
    state: dict[str, Any] = {}
    highest = -math.inf
    wanted: list[int] = []
    for values in laps:
        new = [{"id": len(source) + number, "at": value} for number, value in enumerate(values)]
        wanted += [row["id"] for row in new if row["at"] >= highest]
        source += new
        highest = max([highest, *values])
        kept, state = lap(BY_AT, source, state, arrow=arrow)
        loaded += [row["id"] for row in kept]
    assert sorted(loaded) == sorted(wanted)


def test_what_parts_have_reached_together_is_what_one_run_would_have() -> None:
    config = Incremental(cursor_field="at", lag=2, primary_key=("id",))
    rows = [{"id": n, "at": n % 10} for n in range(40)]
    one = Watermark(config, {}, {})
    one.new_rows(rows)
    parts = [Watermark(config, {}, {}) for _ in range(4)]
    for number, part in enumerate(parts[:3]):
        part.new_rows(rows[number::3])
    assert reached_together(config, [part.state() for part in parts]) == one.state()
    assert reached_together(config, [{}, {}]) == {}
    assert reached_together(None, [{"last": 1, "seen": {}}]) == {}
