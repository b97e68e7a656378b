"""What differs between two documents."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.definitions.difference import differences

BEFORE: dict[str, list[dict[str, Any]]] = {
    "stages": [
        {"name": "load", "blocs": [{"name": "a", "config": {"x": 1}}]},
        {"name": "clean", "workers": 1},
        {"name": "store"},
    ]
}


def told(before: Any, after: Any) -> list[tuple[str, str]]:
    return [(change.op, change.pointer) for change in differences(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [("replace", "/a")]),
        ({"a": 1}, {"a": 1.0}, [("replace", "/a")]),
        ({"a/b~": 1}, {"a/b~": 2}, [("replace", "/a~1b~0")]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, [("remove", "/a"), ("add", "/c")]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("replace", "/a")]),
        ({"a": {"b": 1}}, {"a": None}, [("replace", "/a")]),
        (1, 2, [("replace", "")]),
    ],
)
def test_each_change_has_its_pointer(before: Any, after: Any, expected: list[tuple[str, str]]) -> None:
    assert told(before, after) == expected


def test_members_with_names_are_compared_by_name() -> None:
    load, clean, store = BEFORE["stages"]
    after = {"stages": [load, {"name": "check"}, {**clean, "workers": 2}, store]}
    assert told(BEFORE, after) == [("add", "/stages/1"), ("replace", "/stages/2/workers")]
    assert told(after, BEFORE) == [("remove", "/stages/1"), ("replace", "/stages/1/workers")]


def test_another_order_is_a_move_told_by_names() -> None:
    load, clean, store = BEFORE["stages"]
    (change,) = differences(BEFORE, {"stages": [load, store, clean]})
    assert (change.op, change.pointer, change.after) == ("move", "/stages", ["load", "store", "clean"])
