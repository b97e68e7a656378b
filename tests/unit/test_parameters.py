from __future__ import annotations

from typing import Any

import pytest

from cableway.definition import ParameterDefinition, ParameterType
from cableway.errors import ParameterError
from cableway.parameters import checked_parameters, default_faults, restored_parameters
from tests.fixtures.state import pipeline

DAY = ParameterDefinition(type="string", required=True)
LIMIT = ParameterDefinition(type="integer", default=10)
NOTE = ParameterDefinition()
SIZE = ParameterDefinition(type="string", default="s", enum=("s", "m", "l"))


def test_defaults_are_filled_in() -> None:
    definitions = {"day": DAY, "limit": LIMIT, "note": NOTE, "size": SIZE}
    assert checked_parameters(definitions, {"day": "2013-01-01"}) == {
        "day": "2013-01-01",
        "limit": 10,
        "note": None,
        "size": "s",
    }


def test_every_fault_is_listed_without_the_values() -> None:
    definitions = {"day": DAY, "limit": LIMIT, "size": SIZE}
    with pytest.raises(ParameterError) as caught:
        checked_parameters(definitions, {"limit": "s3cret", "size": "s3cret", "a/b~": "s3cret"})
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [
        ("/parameters/a~1b~0", "unknown"),
        ("/parameters/day", "missing"),
        ("/parameters/limit", "wrong_type"),
        ("/parameters/size", "not_allowed"),
    ]
    assert "s3cret" not in str(caught.value.problem())
    assert '"s", "m", "l"' in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", "x", 1),
        ("integer", 1, 1.5),
        ("integer", -1, True),
        ("number", 1.5, "1.5"),
        ("number", 1, False),
        ("boolean", False, 0),
        ("array", [1, [2]], {"0": 1}),
        ("object", {"a": {"b": 1}}, [1]),
    ],
)
def test_types_are_those_of_json(kind: ParameterType, good: Any, bad: Any) -> None:
    definitions = {"x": ParameterDefinition(type=kind)}
    assert checked_parameters(definitions, {"x": good}) == {"x": good}
    with pytest.raises(ParameterError, match=f"/parameters/x: must be an? {kind}"):
        checked_parameters(definitions, {"x": bad})


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [[float("nan")], [float("inf")], ["a\x00"], ["\ud800"], [{"a\x00": 1}], [{1: 2}], [object()], deep(65)]
)
def test_what_postgres_would_refuse_is_refused_here(value: Any) -> None:
    with pytest.raises(ParameterError, match="/parameters/x: holds"):
        checked_parameters({"x": ParameterDefinition(type="array")}, {"x": value})


def test_what_postgres_takes_is_taken() -> None:
    value = [deep(63), "ä\U0001f600", 10**300, -0.5, None, {"k": [True]}]
    assert checked_parameters({"x": ParameterDefinition(type="array")}, {"x": value}) == {"x": value}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "007", "007"),
        ("integer", "007", 7),
        ("number", "2", 2),
        ("number", "2.5", 2.5),
        ("boolean", "Yes", True),
        ("boolean", "off", False),
        ("array", "[1, 2]", [1, 2]),
        ("object", '{"a": null}', {"a": None}),
    ],
)
def test_a_command_line_means_the_type(kind: ParameterType, text: str, value: Any) -> None:
    assert checked_parameters({"x": ParameterDefinition(type=kind)}, {}, {"x": text}) == {"x": value}


def test_a_command_line_that_is_wrong_is_told_everything() -> None:
    kinds: dict[str, ParameterType] = {"n": "integer", "b": "boolean", "o": "object"}
    definitions = {"day": DAY, **{name: ParameterDefinition(type=kind) for name, kind in kinds.items()}}
    with pytest.raises(ParameterError) as caught:
        checked_parameters(definitions, {}, {"n": "many", "b": "perhaps", "o": "{", "z": "1"})
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [
        ("/parameters/z", "unknown"),
        ("/parameters/day", "missing"),
        *((f"/parameters/{name}", "wrong_type") for name in kinds),
    ]


def test_a_text_goes_before_a_value() -> None:
    assert checked_parameters({"n": LIMIT}, {"n": 1}, {"n": "2"}) == {"n": 2}


def test_definitions_come_back_from_a_stored_version() -> None:
    definition = pipeline(day=DAY, size=SIZE)
    assert restored_parameters(definition.document()["parameters"]) == definition.parameters


def test_defaults_and_allowed_values_are_judged_too() -> None:
    definitions = {
        "good": SIZE,
        "type": ParameterDefinition(type="integer", default="one"),
        "odd": ParameterDefinition(type="string", default="x", enum=("y", 1)),
        "nan": ParameterDefinition(type="number", default=float("nan")),
    }
    assert [(fault.pointer, fault.code) for fault in default_faults(definitions)] == [
        ("/parameters/type/default", "wrong_type"),
        ("/parameters/odd/default", "not_allowed"),
        ("/parameters/odd/enum/1", "wrong_type"),
        ("/parameters/nan/default", "not_storable"),
    ]
