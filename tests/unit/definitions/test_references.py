from __future__ import annotations

from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definition import PipelineDefinition
from cableway.errors import DefinitionError
from cableway.redaction import SecretText
from cableway.references import with_references


def document(path: str, **more: Any) -> dict[str, Any]:
    loader = {"name": "read", "bloc_type": "csv_loader", "config": {"file_path": path}}
    return {"name": "p", "stages": [{"name": "load", "blocs": [loader]}], **more}


def checked(path: str, **more: Any) -> PipelineDefinition:
    return check_document(document(path, **more), catalog=Catalog())


LISTS: dict[str, Any] = {"secrets": ["key", "db-dsn"], "env": ["REGION"], "parameters": {"day": {}}}


def test_listed_references_are_kept_as_they_are_written() -> None:
    text = "${env:REGION}/${param:day}/${secret:key}/${secret:db-dsn}"
    definition = checked(text, **LISTS)
    assert definition.stages[0].blocs[0].config["file_path"] == text
    assert (definition.secrets, definition.env) == (("key", "db-dsn"), ("REGION",))
    assert PipelineDefinition.restore(definition.document()) == definition


def test_what_a_pipeline_lists_is_part_of_its_version() -> None:
    assert checked("x").content_hash() != checked("x", secrets=["key"]).content_hash()


def test_a_version_of_before_there_were_lists_is_restored() -> None:
    before = checked("x").document()
    del before["secrets"], before["env"]
    assert PipelineDefinition.restore(before) == checked("x")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("${secret:other}", "${secret:other}: the pipeline does not list 'other' in its 'secrets'"),
        ("a/${env:HOME}", "${env:HOME}: the pipeline does not list 'HOME' in its 'env'"),
        ("${env:DATABASE_URL}", "no pipeline reads DATABASE_*"),
        ("${env:database_password}", "no pipeline reads DATABASE_*"),
        ("${secret:../etc}", "a name after secret: has letters"),
        ("${env:a-b}", "a name after env: has letters"),
    ],
)
def test_what_is_not_listed_or_no_name_is_a_fault_at_its_place(path: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        checked(path, **LISTS)
    (fault,) = caught.value.faults
    assert fault.pointer == "/stages/0/blocs/0/config/file_path"
    assert message in fault.message


@pytest.mark.parametrize(
    ("lists", "pointer"),
    [
        ({"secrets": ["a", "${secret:b}"]}, "/secrets/1"),
        ({"secrets": ["a", "a"]}, "/secrets/1"),
        ({"secrets": ["../a"]}, "/secrets/0"),
        ({"secrets": [5]}, "/secrets/0"),
        ({"env": ["DATABASE_PASSWORD"]}, "/env/0"),
        ({"env": ["a-b"]}, "/env/0"),
    ],
)
def test_a_list_holds_names(lists: dict[str, Any], pointer: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        checked("x", **lists)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


def test_all_that_is_wrong_is_listed_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        checked("${secret:x} ${env:Y} ${param:z}")
    assert len(caught.value.faults) == 3


def test_what_a_reference_gave_is_not_looked_into() -> None:
    definition = checked("${param:day}-${env:REGION}-${secret:key}", **LISTS)
    resolved, _ = with_references(definition, {"day": "${secret:db-dsn}"}, {"REGION": "${param:day}"})
    assert resolved.stages[0].blocs[0].config["file_path"] == SecretText(("${secret:db-dsn}-${param:day}-", "key", ""))


@pytest.mark.parametrize("path", ["{{7*7}}", "%s%n", "$HOME", "$(id)", "${}", "${secret}", "${:x}"])
def test_other_templates_are_text(path: str) -> None:
    definition = checked(path)
    resolved, names = with_references(definition, {}, {})
    assert (resolved, names) == (definition, frozenset())
