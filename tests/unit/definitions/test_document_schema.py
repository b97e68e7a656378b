from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cableway.blocs.kinds import TransformerBloc
from cableway.catalog import BUILT_IN, Catalog
from cableway.checks import check_document, read_document
from cableway.definition import JsonObject
from cableway.definitions.bounds import BOUNDS, Bound
from cableway.definitions.document_schema import pipeline_schema
from cableway.errors import DefinitionError
from cableway.examples import build_example_pipeline
from tests.unit.blocs.test_checks import GOOD
from tests.unit.definitions.checking import inline, pipeline, staged
from tests.unit.definitions.test_settings_of_a_run import with_number

CONTEXTS = "tests.unit.blocs.contexts"
FLIGHTS = "examples.flights.blocs"
FULL: dict[str, Any] = {
    "$schema": "./pipeline.schema.json",
    "name": "orders of a day",
    "description": "Everything that a document may say.",
    "parameters": {
        "day": {"type": "string", "required": True, "description": "Which."},
        "size": {"type": "integer", "default": 500, "enum": [100, 500]},
    },
    "settings": {
        "timeout_s": 3600,
        "max_errors": "1%",
        "attempts": 3,
        "backoff": {"initial_s": 5},
        "output_dir": "orders",
        "overlap": "queue_one",
        "overlap_key": "${param:day}",
    },
    "triggers": {
        "nightly": {"expression": "30 2 * * *", "timezone": "Europe/Berlin", "parameters": {"day": "today"}},
        "arrived": {"kind": "webhook", "secrets": ["env:HOOK_SECRET"]},
    },
    "blocs": {
        "read": {"bloc_type": "csv_loader", "config": {"file_path": "${param:day}.csv", "batch_size": "${param:size}"}},
    },
    "stages": [
        "read",
        [inline("one"), inline("two", lane="thread", inputs=["read"])],
        {"name": "sum", "blocs": [inline("three", config={"source_bloc": "one"})], "retry": {"attempts": 3}},
        {"blocs": [inline("write", "postgres_exporter", config={"table_name": "t"})], "batch": {"count": 10}},
    ],
}


class Validator:
    """The schema of a catalog, asked."""

    def __init__(self, *modules: str) -> None:
        self.schema = json.loads(json.dumps(pipeline_schema(Catalog(modules))))
        self._validator: Any = Draft202012Validator(self.schema)

    def faults(self, document: Any) -> list[str]:
        return [error.message for error in self._validator.iter_errors(document)]

    def takes(self, document: Any) -> bool:
        return not self.faults(document)


@cache
def built_in() -> Validator:
    """The schema of what ships: made once, and by the worker alone that has these tests."""
    return Validator()


CATALOG = Catalog()


def is_checked(document: Any) -> bool:
    try:
        check_document(document, catalog=CATALOG)
    except DefinitionError:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(Validator(CONTEXTS).schema)


def test_what_the_checks_take_the_schema_takes() -> None:
    for document in (FULL, GOOD, build_example_pipeline("a.csv").document(triggers=True), pipeline(stages=["a"])):
        assert built_in().faults(document) == []
    assert is_checked(FULL)


def test_the_flights_are_taken_by_a_schema_that_knows_their_blocs() -> None:
    document = dict(read_document("examples/flights/pipeline.yaml"))
    assert Validator(FLIGHTS).faults(document) == []
    assert not built_in().takes(document)


def test_a_normalised_definition_is_taken() -> None:
    definition = check_document(FULL, catalog=Catalog())
    assert built_in().faults(definition.document(triggers=True)) == []


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_example_of_every_type_is_taken_and_a_key_too_much_is_not(name: str) -> None:
    bloc = inline("x", name, config=dict(Catalog().load(name).example))
    assert built_in().faults(pipeline(stages=[[bloc]])) == []
    bloc["config"]["surprise"] = 1
    assert not built_in().takes(pipeline(stages=[[bloc]]))


def test_a_type_of_ones_own_is_in_the_union() -> None:
    document = pipeline(stages=[[inline("a")], [inline("t", "times", config={"by": 3})]])
    own = Validator(CONTEXTS)
    assert own.faults(document) == []
    document["stages"][1][0]["config"]["by"] = "many"
    assert not own.takes(document)
    assert own.takes(pipeline(stages=[[inline("a")], [inline("t", "times", config={"by": "${param:by}"})]]))


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column."""

    name: str
    """What it is called."""
    within: tuple[Column, ...] = ()
    """Columns of its own."""


@dataclass(frozen=True, kw_only=True)
class NestedConfig:
    """Columns in columns."""

    columns: tuple[Column, ...]
    """The outer ones."""


def test_a_config_of_parts_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("nested_blocs")
    fields: dict[str, Any] = {"bloc_type": "nested", "summary": "Nests.", "Config": NestedConfig, "example": {}}
    methods: dict[str, Any] = {"transform": print, "__module__": "nested_blocs"}
    module.NestedBloc = type("NestedBloc", (TransformerBloc,), {**fields, **methods})
    monkeypatch.setitem(sys.modules, "nested_blocs", module)
    own, catalog = Validator("nested_blocs"), Catalog(["nested_blocs"])
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"within": []}, True),
        ({"nam": 1}, False),
        ({"name": "${param:x}"}, True),
    ]
    for more, good in cases:
        config = {"columns": [{"name": "a", "within": [{"name": "b", **more}]}]}
        document = pipeline(parameters={"x": {}}, stages=[[inline("n", "nested", config=config)]])
        assert own.takes(document) is good
        _, faults = catalog.normalise("nested", config)
        assert (not faults) is good


def test_editors_are_told_what_each_key_is() -> None:
    schema = pipeline_schema(Catalog())
    for part, fields in schema["$defs"].items():
        for name, field in fields.get("properties", {}).items():
            described = field.get("description") or "$ref" in field or part == "Bloc"
            assert described, f"{part}.{name}"
    assert schema["$defs"]["Bloc"]["properties"]["bloc_type"]["enum"] == sorted(BUILT_IN)


@pytest.mark.parametrize(
    ("part", "name", "bound"),
    [(part, name, bound) for part, bounds in BOUNDS.items() for name, bound in bounds.items()],
)
def test_numbers_have_the_same_bounds_in_both(part: type, name: str, bound: Bound) -> None:
    least = 0 if bound.least is None else int(bound.least)
    for value in (least - 1, least, least + 1, int(bound.most), int(bound.most) + 1, "5", True):
        document, _ = with_number(part, name, value)
        assert built_in().takes(document) == is_checked(document), value


BAD: list[Any] = [
    [],
    {},
    {"name": "p"},
    {"name": "p", "stages": []},
    {"name": "p", "stages": {}},
    {"name": "p", "stages": [[]]},
    {"name": "p", "stages": [7]},
    {"name": "", "stages": ["a"]},
    {"name": "a/b", "stages": [[inline("a")]]},
    {"name": "p", "stages": [[{"bloc_type": "pass_through"}]]},
    {"name": "p", "stages": [[{"name": "a"}]]},
    pipeline(stage=1),
    pipeline(stages=[[inline("a", "os:system")]]),
    pipeline(stages=[[inline("a", lane="moon")]]),
    pipeline(stages=[[inline("a")], [inline("e", "postgres_exporter", lane="process", config={"table_name": "t"})]]),
    pipeline(stages=[[inline("a", "csv_loader")]]),
    staged(on_error="ignore"),
    staged(batch={}),
    staged(blocs=[]),
    pipeline(settings={"max_errors": "1e1%"}),
    pipeline(settings={"output_dir": "/etc"}),
    pipeline(triggers={"t": {}}),
    pipeline(triggers={"t": {"kind": "webhook"}}),
    pipeline(triggers={"a b": {"expression": "* * * * *"}}),
    pipeline(parameters={"a-b": {}}),
    pipeline(parameters={"a": {"type": "date"}}),
]


@pytest.mark.parametrize("document", BAD, ids=lambda document: json.dumps(document)[:40])
def test_a_wrong_shape_is_refused_by_both(document: Any) -> None:
    assert not built_in().takes(document)
    assert not is_checked(document)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    keys: list[Any] = list(cast("dict[str, Any]", value)) if isinstance(value, dict) else []
    keys += range(len(cast("list[Any]", value))) if isinstance(value, list) else ()
    for key in keys:
        yield from places(cast("Any", value)[key], (*path, key))


PLACES = [path for path in places(FULL) if path]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**9,
    "",
    "x",
    "1%",
    "${param:size}",
    "${param:day}",
    [],
    ["read"],
    {},
    {"x": 1},
]


def changed(path: tuple[Any, ...], value: Any, *, remove: bool) -> JsonObject:
    document = copy.deepcopy(FULL)
    around: Any = document
    for key in path[:-1]:
        around = around[key]
    if remove:
        del around[path[-1]]
    else:
        around[path[-1]] = value
    return document


@settings(max_examples=50, deadline=None, derandomize=True)
@given(path=st.sampled_from(PLACES), value=st.sampled_from(VALUES), remove=st.booleans())
def test_the_schema_refuses_nothing_that_the_checks_take(path: tuple[Any, ...], value: Any, remove: bool) -> None:
    document = changed(path, value, remove=remove)
    if is_checked(document):
        assert built_in().faults(document) == []
