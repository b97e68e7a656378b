"""Contracts for data."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cableway.blocs.check import CheckBloc, CheckConfig
from cableway.blocs.check_rules import Rule
from cableway.blocs.tables import library
from cableway.catalog import Catalog
from cableway.errors import RowError
from tests.unit.blocs.contexts import context_of

pa = library("pyarrow")
ROWS = [
    {"id": 1, "kind": "a", "delay": 5},
    {"id": 2, "kind": "b", "delay": 900},
    {"id": 2, "kind": None, "delay": None},
    {"id": None, "kind": "secret", "delay": -5},
]


def checked(rows: Any, *rules: dict[str, Any]) -> tuple[CheckBloc, Any]:
    bloc = CheckBloc("contract", CheckConfig(rules=[Rule.of(rule) for rule in rules]))
    return bloc, bloc.transform(context_of(bloc, {"source": rows}))


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        (
            {"rule": "not_null", "columns": ["kind", "id"]},
            {"2": "column 'kind': is missing", "3": "column 'id': is missing"},
        ),
        ({"rule": "unique", "columns": ["id"]}, {"2": "column 'id': another row has the same id"}),
        (
            {"rule": "accepted_values", "columns": ["kind"], "values": ["a", "b"]},
            {"3": "column 'kind': is none of the accepted"},
        ),
        (
            {"rule": "range", "columns": ["delay"], "min": 0, "max": 100},
            {"1": "column 'delay': is not within 0..100", "3": "is not"},
        ),
    ],
)
def test_rows_that_break_a_rule_are_rejected(rule: dict[str, Any], refused: dict[str, str]) -> None:
    bloc, result = checked(ROWS, rule)
    kept, *rejected = result
    assert [row.row for row in rejected] == [ROWS[int(number)] for number in refused]
    for number, row in zip(refused, rejected, strict=True):
        assert refused[number] in str(row.error)
        assert str(row.error).startswith(f"contract, row {int(number) + 1}, ")
        assert "secret" not in str(row.error)
    assert kept.to_pylist() == [row for n, row in enumerate(ROWS) if str(n) not in refused]
    assert bloc.outputs()["rules"][0]["broken"] == len(refused)


def test_what_only_warns_is_counted_and_let_through(caplog: pytest.LogCaptureFixture) -> None:
    rules: list[dict[str, Any]] = [
        {"rule": "unique", "columns": ["id"], "severity": "warn"},
        {"rule": "row_count", "max": 3, "severity": "warn"},
    ]
    bloc, result = checked(ROWS, *rules)
    assert result.num_rows == 4
    assert [(rule["rule"], rule["broken"]) for rule in bloc.outputs()["rules"]] == [("unique(id)", 1), ("row_count", 1)]
    assert "item 0:0:0 breaks unique(id) 1 times" in caplog.text


@pytest.mark.parametrize(
    ("rows", "rule", "reason"),
    [
        (ROWS, {"rule": "row_count", "min": 5}, "contract: row_count: there are 4 rows"),
        (ROWS, {"rule": "row_count", "max": 3}, "contract: row_count: there are 4 rows"),
        (
            [{"at": datetime.now(UTC) - timedelta(hours=3)}],
            {"rule": "freshness", "columns": ["at"], "max_age_s": 3600},
            "contract: freshness\\(at\\): the newest value is 1\\d{4} s old",
        ),
        ([{"at": date(2020, 1, 1)}], {"rule": "freshness", "columns": ["at"], "max_age_s": 60}, "the newest value is"),
        ([{"at": None}], {"rule": "freshness", "columns": ["at"], "max_age_s": 60}, "no value to be fresh"),
        ([{"at": 7}], {"rule": "freshness", "columns": ["at"], "max_age_s": 60}, "holds no dates or times"),
    ],
)
def test_a_table_that_breaks_a_rule_fails_its_item(rows: Any, rule: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        checked(rows, rule)


def test_what_keeps_the_rules_passes_as_it_is() -> None:
    table = pa.table({"id": [1, 2], "at": [datetime.now(UTC)] * 2})
    rules: list[dict[str, Any]] = [
        {"rule": "unique", "columns": ["id"]},
        {"rule": "freshness", "columns": ["at"], "max_age_s": 600},
    ]
    assert checked(table, *rules)[1] is table


def test_a_gather_judges_all_items_together() -> None:
    bloc = CheckBloc("contract", CheckConfig(rules=[Rule(rule="unique", columns=["id"])]))
    state = bloc.initial()
    for ids in ([1, 2], [2, 3]):
        state = bloc.fold(state, context_of(bloc, {"source": pa.table({"id": ids})}))
    kept, rejected = bloc.finish(state)
    assert (kept.to_pydict(), rejected.row) == ({"id": [1, 2, 3]}, {"id": 2})


def test_rules_without_what_they_need_are_faults() -> None:
    rules = [
        {"rule": "not_null"},
        {"rule": "row_count", "columns": ["a"], "min": 1},
        {"rule": "freshness", "columns": ["a"]},
        {"rule": "accepted_values", "columns": ["a"]},
        {"rule": "range", "columns": ["a"]},
    ]
    faults = Catalog().normalise("check", {"rules": rules})[1]
    assert [fault.pointer for fault in faults] == [
        "/rules/0/columns",
        "/rules/1/columns",
        "/rules/2/max_age_s",
        "/rules/3/values",
        "/rules/4/min",
    ]
