from __future__ import annotations

from typing import Any

import pytest

from cableway.definition import PipelineDefinition, TriggerDefinition
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


def test_what_a_row_holds_of_a_webhook_is_what_differs_from_the_usual() -> None:
    written = {
        **HOOK,
        "auth": "hmac",
        "signature": {"header": "x-signature", "content": "{timestamp}.{body}", "timestamp_header": "x-time"},
        "secrets": ["env:A", {"secret": "env:B", "expires": "2027-01-31T00:00:00+00:00"}],
        "when": "$.kind in ['a', 'b']",
        "parameters": {"day": "$.event.day", "size": 5},
        "remember_days": 2.5,
    }
    trigger = check(triggered(arrived=written)).triggers["arrived"]
    config = trigger.config()
    assert config.keys() == written.keys() - {"kind"}
    assert TriggerDefinition.of_row("webhook", config) == trigger
    event = check(triggered(stored={"kind": "event", "match": {"bucket": "in"}})).triggers["stored"]
    assert TriggerDefinition.of_row("event", event.config()) == event


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
    ({**HOOK, **NIGHTLY}, {"expression": "not_here", "timezone": "not_here"}),
    ({**HOOK, "auth": "none"}, {"secrets": "not_here"}),
    ({**HOOK, "auth": "hmac"}, {"signature": "missing"}),
    ({**HOOK, "auth": "hmac", "signature": {"header": "x sig"}}, {"signature/header": "header"}),
    ({**HOOK, "auth": "hmac", "signature": {"header": "x", "content": "{id}{body}"}}, {"signature/content": "content"}),
    ({**HOOK, "auth": "hmac", "signature": {"header": "x", "timestamp_header": "t"}}, {"signature/content": "content"}),
    ({**HOOK, "signature": {"header": "x"}}, {"signature": "not_here"}),
    ({**HOOK, "secrets": [{"secret": "env:A", "expires": "2027-01-01"}]}, {"secrets/0/expires": "instant"}),
    ({**HOOK, "secrets": [{"secret": "plain"}]}, {"secrets/0/secret": "secret"}),
    ({**HOOK, "when": "$.a = 1", "key": "id"}, {"when": "expression", "key": "expression"}),
    (
        {**HOOK, "parameters": {"day": "$.", "size": "x", "sise": "$.a"}},
        {"parameters/day": "expression", "parameters/size": "wrong_type", "parameters/sise": "unknown"},
    ),
    ({**HOOK, "parameters": {"size": 1}}, {"parameters/day": "missing"}),
    ({**HOOK, "match": {"source": "aws.s3"}}, {"match": "not_here"}),
    ({"kind": "event"}, {"match": "missing"}),
    ({"kind": "event", "match": {}}, {"match": "missing"}),
    (
        {"kind": "event", "match": {"bucket": "b"}, "secrets": ["env:A"], "form": True},
        {"secrets": "not_here", "form": "not_here"},
    ),
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
