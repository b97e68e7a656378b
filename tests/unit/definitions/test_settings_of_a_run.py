from __future__ import annotations

from typing import Any

import pytest

from cableway.definition import (
    BackoffDefinition,
    BatchDefinition,
    RetryDefinition,
    RunSettings,
    StageDefinition,
    TriggerDefinition,
)
from cableway.definitions.bounds import BOUNDS, MAX_TRIES, Bound
from tests.unit.definitions.checking import check, faults_of, inline, pipeline, staged

PLACES: dict[type, tuple[str, str]] = {
    StageDefinition: ("", ""),
    RetryDefinition: ("retry", ""),
    BatchDefinition: ("batch", ""),
    RunSettings: ("", "settings"),
    BackoffDefinition: ("backoff", "settings"),
    TriggerDefinition: ("", "triggers"),
}
HOOK = {"kind": "webhook", "secrets": ["env:HOOK_SECRET"]}
CASES = [(part, name, bound) for part, bounds in BOUNDS.items() for name, bound in bounds.items()]


def with_number(part: type, name: str, value: Any) -> tuple[dict[str, Any], str]:
    """A pipeline that holds *value*, and the pointer to it."""
    inner, outer = PLACES[part]
    fields = {inner: {name: value}} if inner else {name: value}
    inside = f"{inner}/{name}" if inner else name
    if outer == "triggers":
        return pipeline(triggers={"hook": {**HOOK, **fields}}), f"/triggers/hook/{inside}"
    if outer:
        return pipeline(settings=fields), f"/settings/{inside}"
    return staged(**fields), f"/stages/1/{inside}"


@pytest.mark.promise("P22")
@pytest.mark.parametrize("value", [-1, 10**18, 1e18, float("nan"), float("inf"), "5", True, [], 10**30], ids=repr)
@pytest.mark.parametrize(("part", "name", "bound"), CASES, ids=lambda case: getattr(case, "__name__", str(case))[:20])
def test_a_number_out_of_its_bounds_is_refused_where_it_stands(part: type, name: str, bound: Bound, value: Any) -> None:
    document, pointer = with_number(part, name, value)
    assert set(faults_of(document)) == {pointer}


@pytest.mark.promise("P22")
@pytest.mark.parametrize(("part", "name", "bound"), CASES, ids=lambda case: getattr(case, "__name__", str(case))[:20])
def test_the_ends_of_the_bounds_are_taken_and_what_lies_beyond_is_not(part: type, name: str, bound: Bound) -> None:
    least = 1 if bound.least is None else int(bound.least)
    for value in (least, int(bound.most)):
        check(with_number(part, name, value)[0])
    beyond = 0 if bound.least is None else least - 1
    for value in (beyond, int(bound.most) + 1):
        document, pointer = with_number(part, name, value)
        assert faults_of(document) == {pointer: "range"}


@pytest.mark.parametrize("value", [0, 7, 10**9, "0%", "1%", "2.5%", "2.5 %", "100%", "100.0%"])
def test_errors_are_tolerated_by_count_or_share(value: int | str) -> None:
    assert check(pipeline(settings={"max_errors": value})).settings.max_errors == value


@pytest.mark.parametrize(
    "value", [-1, "5", "-1%", "101%", "1e1%", "nan%", "1_0%", "\u0661%", "%", "1%%", 1.5, None, True]
)
def test_what_is_no_count_and_no_share_is_refused(value: Any) -> None:
    assert set(faults_of(pipeline(settings={"max_errors": value}))) == {"/settings/max_errors"}


def test_tries_do_not_multiply_beyond_the_cap() -> None:
    document = {**staged(retry={"attempts": 20}), "settings": {"attempts": 6}}
    assert faults_of(document) == {"/stages/1/retry/attempts": "range"}
    assert check({**document, "settings": {"attempts": 5}}).settings.attempts * 20 == MAX_TRIES


@pytest.mark.parametrize("folder", ["reports", "reports/2024-01", "a.b/c_d"])
def test_an_output_folder_leads_downwards(folder: str) -> None:
    assert check(pipeline(settings={"output_dir": folder})).settings.output_dir == folder


@pytest.mark.parametrize(
    "folder", ["", "/etc", "../up", "a/../../b", "a//b", "a/", "a\\b", "a b", "~/x", "a\x00", "/".join("abcdefghijkl")]
)
def test_another_output_folder_is_refused(folder: str) -> None:
    assert set(faults_of(pipeline(settings={"output_dir": folder}))) == {"/settings/output_dir"}


def test_overlap_is_a_policy_with_a_key_of_parameters() -> None:
    settings = {"concurrency": 2, "overlap": "queue_all", "overlap_key": "${param:customer}"}
    checked = check(pipeline(settings=settings, parameters={"customer": {}})).settings
    assert (checked.concurrency, checked.overlap, checked.overlap_key) == (2, "queue_all", "${param:customer}")
    assert faults_of(pipeline(settings={"overlap": "sometimes", "overlap_key": "${param:customer}"})) == {
        "/settings/overlap": "literal_error",
        "/settings/overlap_key": "unknown_parameter",
    }


def loader(name: str, **config: Any) -> dict[str, Any]:
    return inline(name, "csv_loader", config={"file_path": "a.csv", **config})


def test_the_batch_size_goes_to_the_loader_that_does_not_say() -> None:
    document = pipeline(stages=[[loader("a"), loader("b", batch_size=None)]], settings={"batch_size": 500})
    definition = check(document)
    assert [bloc.config["batch_size"] for bloc in definition.stages[0].blocs] == [500, None]
    assert check(definition.document()) == definition


def test_a_batch_size_for_two_loaders_is_refused() -> None:
    document = pipeline(stages=[[loader("a"), loader("b")]], settings={"batch_size": 500})
    assert faults_of(document) == {"/settings/batch_size": "stream"}


def test_a_batch_size_leaves_alone_what_is_no_loader_of_the_first_stage() -> None:
    document = pipeline(stages=[[inline("a")], [loader("b")]], settings={"batch_size": 500})
    assert check(document).stages[1].blocs[0].config["batch_size"] is None
