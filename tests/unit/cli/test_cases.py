"""`cableway test`: cases in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.conftest import Command

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
DOUBLED = [{"a": 2, "b": "x"}, {"a": 4, "b": "y"}]


def write(*cases: dict[str, Any], name: str = "cases.yaml") -> None:
    given = [{"parameters": {"day": "monday"}, **case} for case in cases]
    Path(name).write_text(yaml.safe_dump({"pipeline": "tiny.yaml", "cases": given}))


@pytest.mark.parametrize(
    "case",
    [
        {"bloc": "doubled", "input": ROWS, "output": DOUBLED},
        {"bloc": "doubled", "inputs": {"rows": ROWS}, "output": DOUBLED},
        {"stage": "times", "input": ROWS, "output": DOUBLED},
        {"bloc": "doubled", "input": [{"a": 1}], "parameters": {"day": "d", "times": 3}, "output": [{"a": 3}]},
        {"bloc": "doubled", "error": "MissingDataError"},
        {"bloc": "doubled", "error": "has 0 inputs"},
        {"bloc": "doubled", "input": ROWS, "parameters": {}, "error": "/parameters/day: is required"},
        {"inputs": {"rows": ROWS}, "output": {"out": DOUBLED}},
        {"input": ROWS, "output": {"out": DOUBLED}},
        {"output": {"out": [*DOUBLED, {"a": 6, "b": "z"}]}},
        {"input": 5, "error": "AttributeError"},
    ],
)
def test_what_comes_as_expected_passes(cableway: Command, case: dict[str, Any]) -> None:
    write(case)
    assert cableway("test", "cases.yaml") == 0, cableway.out
    assert "passed  cases.yaml: case 1" in cableway.out
    assert cableway.err == "1 passed, 0 failed\n"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"bloc": "doubled", "input": ROWS, "output": ROWS}, "/0/a: expected 1, and it is 2"),
        ({"bloc": "doubled", "input": ROWS, "output": DOUBLED[:1]}, "/: expected 1 in the list, and there are 2"),
        ({"bloc": "doubled", "input": ROWS, "output": [{"a": 2}, {"a": 4}]}, '/0/b: not expected, and it is "x"'),
        ({"bloc": "doubled", "input": [{"a": 1}], "output": DOUBLED[:1]}, '/0/b: expected "x", and it is not there'),
        ({"bloc": "doubled", "output": []}, "expected an output, and it raised MissingDataError"),
        ({"bloc": "doubled", "input": ROWS, "error": "KeyError"}, "expected the error 'KeyError', and it gave"),
        ({"input": 5, "output": {}}, "(in bloc doubled)"),
    ],
)
def test_what_comes_otherwise_fails_and_says_what(cableway: Command, case: dict[str, Any], words: str) -> None:
    write({"name": "mine", **case})
    assert cableway("test") == 3
    assert "FAILED  cases.yaml: mine" in cableway.out
    assert words in cableway.out


def test_json_tells_each_case(cableway: Command) -> None:
    write({"bloc": "doubled", "input": ROWS, "output": DOUBLED}, {"bloc": "doubled", "output": []})
    told = cableway.json("test", code=3)
    assert [(case["name"], case["passed"]) for case in told] == [("case 1", True), ("case 2", False)]


def test_every_fault_of_a_file_is_told_before_anything_runs(cableway: Command) -> None:
    write(
        {"bloc": "dubled", "output": 1}, {"stage": "times", "bloc": "doubled", "outptu": 1}, {"inputs": [], "error": 1}
    )
    problem = cableway.json("test", code=78)
    assert [fault["pointer"] for fault in problem["errors"]] == [
        "/cases/0/bloc",
        "/cases/1/outptu",
        "/cases/1/stage",
        "/cases/1",
        "/cases/2/inputs",
    ]


def test_without_cases_it_says_where_they_stand(cableway: Command) -> None:
    assert cableway("test") == 78
    assert "*cases.yaml" in cableway.err
    Path("cases.yaml").write_text("cases: []")
    assert cableway("test") == 78
    assert "a list of `cases:`" in cableway.err
