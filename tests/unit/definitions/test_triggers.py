from __future__ import annotations

from typing import Any

import pytest

from cableway.definition import PipelineDefinition
from tests.unit.definitions.checking import check, faults_of, pipeline

PARAMETERS = {"day": {"type": "string", "required": True}, "size": {"type": "integer", "default": 1}}
NIGHTLY = {"expression": "30 2 * * 1-5", "timezone": "Europe/Berlin", "parameters": {"day": "today"}}
HOOK = {"kind": "webhook", "secrets": ["env:HOOK_SECRET"]}


def triggered(**triggers: Any) -> dict[str, Any]:
    return pipeline(parameters=PARAMETERS, triggers=triggers)


def test_a_pipeline_says_what_starts_it() -> None:
    triggers = check(triggered(nightly=NIGHTLY, arrived=HOOK)).triggers
    assert triggers["nightly"].config() == {"timezone": "Europe/Berlin", "parameters": {"day": "today"}}
    assert triggers["arrived"].config() == {"secrets": ["env:HOOK_SECRET"]}


def test_triggers_are_no_part_of_a_version() -> None:
    with_one, without = check(triggered(nightly=NIGHTLY)), check(triggered())
    assert with_one.content_hash() == without.content_hash()
    assert PipelineDefinition.restore(with_one.document()) == without
    assert check(with_one.document(triggers=True)) == with_one


FAULTY: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"expression": "missing", "parameters/day": "missing"}),
    ({**NIGHTLY, "expression": "0 0 30 2 *"}, {"expression": "cron"}),
    ({**NIGHTLY, "timezone": "Mars/Base"}, {"timezone": "timezone"}),
    ({**NIGHTLY, "secrets": ["env:A"]}, {"secrets": "not_here"}),
    (
        {**NIGHTLY, "parameters": {"size": "5", "sise": 1}},
        {"parameters/day": "missing", "parameters/size": "wrong_type", "parameters/sise": "unknown"},
    ),
    ({**HOOK, "secrets": []}, {"secrets": "missing"}),
    ({**HOOK, "secrets": ["hush"]}, {"secrets/0": "secret"}),
    ({**HOOK, "secrets": ["env:DATABASE_PASSWORD"]}, {"secrets/0": "secret"}),
    ({**HOOK, **NIGHTLY}, {"expression": "not_here", "timezone": "not_here", "parameters": "not_here"}),
    ({"kind": "smoke", "expression": "0 0 * * *", "parameters": {"day": "x"}}, {"kind": "literal_error"}),
    ({**NIGHTLY, "every": 5}, {"every": "unexpected_keyword_argument"}),
]


@pytest.mark.promise("P22")
@pytest.mark.parametrize(("trigger", "faults"), FAULTY)
def test_every_fault_of_a_trigger_is_listed(trigger: dict[str, Any], faults: dict[str, str]) -> None:
    assert faults_of(triggered(t=trigger)) == {f"/triggers/t/{place}": code for place, code in faults.items()}


@pytest.mark.parametrize("name", ["", "a/b", "a b", "é", "x" * 101, "../x"])
def test_a_triggers_name_fits_into_an_address(name: str) -> None:
    assert list(faults_of(triggered(**{name: NIGHTLY})).values()) == ["name"]


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "x" * 65, "é"])
def test_a_parameters_name_fits_into_a_reference(name: str) -> None:
    assert list(faults_of(pipeline(parameters={name: {}})).values()) == ["name"]


def test_defaults_and_allowed_values_have_the_type() -> None:
    parameters = {"size": {"type": "integer", "default": "1", "enum": [1, "2"]}, "kind": {"type": "date"}}
    assert faults_of(pipeline(parameters=parameters)) == {
        "/parameters/size/default": "wrong_type",
        "/parameters/size/enum/1": "wrong_type",
        "/parameters/kind/type": "literal_error",
    }
