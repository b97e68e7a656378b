"""A key that is misspelt is told with those that may have been meant."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definitions.json_schema import fitted
from cableway.definitions.known_keys import unknown_key
from cableway.errors import DefinitionError

LOADER = {"name": "a", "bloc_type": "csv_loader", "config": {"file_path": "a.csv"}}


def faults(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(DefinitionError) as caught:
        check_document(document, catalog=Catalog())
    return {fault.pointer: fault.message for fault in caught.value.faults}


def test_what_stands_near_it_is_told_wherever_it_stands() -> None:
    told = faults(
        {
            "name": "p",
            "stages": [{"name": "s", "worker": 2, "retry": {"attempt": 3}, "blocs": [LOADER]}],
            "settings": {"max_error": 3},
            "triggers": {"t": {"expresion": "* * * * *"}},
        }
    )
    assert told["/stages/0/worker"].startswith("is not known here; near it: workers")
    assert told["/stages/0/retry/attempt"] == "is not known here; near it: attempts"
    assert told["/settings/max_error"].startswith("is not known here; near it: max_errors")
    assert told["/triggers/t/expresion"].startswith("is not known here; near it: expression")


def test_in_the_config_of_a_bloc_too() -> None:
    bloc = {"name": "b", "bloc_type": "api_loader", "config": {"url": "https://x.example", "auth": {"tokn": "x"}}}
    told = faults({"name": "p", "stages": [[{**LOADER, "config": {"file_pth": "a.csv"}}], [bloc]]})
    assert told["/stages/0/0/config/file_pth"] == "is not known here; near it: file_path"
    assert told["/stages/1/0/config/auth/tokn"].startswith("is not known here; near it: token")


def test_a_published_schema_tells_the_same() -> None:
    described = Catalog().describe("csv_loader")["config"]
    _, found = fitted(described, {"file_path": "a", "delimitr": ";"})
    assert [(fault.pointer, fault.message) for fault in found] == [
        ("/delimitr", "is not known here; near it: delimiter")
    ]


def test_without_a_near_one_those_that_there_are_and_nothing_where_none_is_known() -> None:
    schema: dict[str, Any] = {
        "properties": {"a": {"properties": {"one": {}, "two": {}}}, "list": {"items": {"$ref": "#/$defs/P"}}}
    }
    schema["$defs"] = {"P": {"anyOf": [{"properties": {"x": {}}}, {"$ref": "#/$defs/P"}]}}
    assert unknown_key(schema, ["a", "zzz"]) == "is not known here; known: one, two"
    assert unknown_key(schema, ["list", "3", "zzz"]) == "is not known here; known: x"
    assert unknown_key(schema, ["nowhere", "zzz"]) == "is not known here"


def test_many_misspelt_keys_are_told_in_bounded_time() -> None:
    stages = [[{"name": f"b{n}", "bloc_type": "pass_through", f"bloctype{n}": 1}] for n in range(3000)]
    began = time.process_time()
    assert len(faults({"name": "p", "stages": stages})) >= 3000
    assert time.process_time() - began < 30
