"""Paths into events and conditions over them: what they find, what they refuse, and that nothing breaks them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cableway.definitions.expressions import MISSING, ExpressionError, Scene, parse_condition, parse_path

SCENE = Scene(
    {
        "ref": "refs/heads/main",
        "count": 3,
        "on": True,
        "lines": [{"id": 1, "tag": "a"}, {"id": 2}, "odd"],
        "order": {"id": 7, "odd name": {"x": None}, "empty": []},
    },
    {"x-event": "push", "content-type": "application/json"},
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$", SCENE.payload),
        ("$.ref", "refs/heads/main"),
        ("$.order.id", 7),
        ("$.order['odd name'].x", None),
        ('$.order["odd name"]', {"x": None}),
        ("$['count']", 3),
        ("$.lines[0].id", 1),
        ("$.lines[*].id", [1, 2]),
        ("$.lines[*].tag", ["a"]),
        ("$.lines[9]", MISSING),
        ("$.ref[0]", MISSING),
        ("$.ref[*]", MISSING),
        ("$.count.x", MISSING),
        ("$.nothing.at.all", MISSING),
        ("$headers.X-Event", "push"),
        ("$headers['Content-Type']", "application/json"),
        ("$headers.authorization", MISSING),
    ],
)
def test_a_path_finds_what_it_leads_to(text: str, found: Any) -> None:
    assert parse_path(text).find(SCENE) == found


@pytest.mark.parametrize(
    "text",
    ["", "ref", "$.", "$ref", "$..a", "$.a b", "$.a[-1]", "$.a['b]", "$[", "$.a[1000000000]", "$headers",
     "$headers.a.b", "$headers[0]", "$headers.a[*]", "$." + "a" * 3000],
)  # fmt: skip
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_path(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('$.ref == "refs/heads/main"', True),
        ("$.ref != 'refs/heads/main'", False),
        ("$.count >= 3 and $.count < 4", True),
        ("$.count == 3.0", True),
        ("$.on == 1", False),
        ("$.on == true", True),
        ("$.on", True),
        ("$.order.empty", False),
        ("not $.nothing", True),
        ("$.nothing == null", True),
        ("$.order['odd name'].x == null", True),
        ("$.nothing == $.no_more", True),
        ("$.nothing != 1", True),
        ("$.nothing < 1 or $.ref < 1", False),
        ("$.ref < 'z'", True),
        ("$.ref starts_with 'refs/' and $.ref ends_with 'main'", True),
        ("$.count starts_with '3'", False),
        ("$headers.x-event in ['push', \"pull\"]", True),
        ("$.count in [1, 2, [3]]", False),
        ("$.lines[*].id contains 2", True),
        ("$.order contains 'id'", True),
        ("$.ref contains 'heads'", True),
        ("$.ref contains 5", False),
        ("false or false and true or (true and not false)", True),
        ("not (true or true)", False),
        ("-1.5 < $.count", True),
        ('"\\u0041" == "A"', True),
    ],
)
def test_a_condition_holds_or_does_not(text: str, holds: bool) -> None:
    assert parse_condition(text)(SCENE) is holds


@pytest.mark.parametrize(
    "text",
    ["", "$.a ==", "== 1", "(", "()", "(true", "true)", "$.a b", "'a", '"a', '"\\x"', "$.a = 1", "f($.a)", "[1",
     "[1 2]", "True", "1 + 1", "$.a == 1 == 2", "not", "and", "import", "__class__",
     "(" * 40 + "true" + ")" * 40, "1 " * 3000],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_condition(text)


@given(st.text(alphabet="$.[]()'\"*ab19 =<>!,-_notrue\\", max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = parse_condition(text)
    except ExpressionError:
        return
    assert condition(SCENE) in {True, False}
