from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from cableway.catalog import BUILT_IN, Catalog
from cableway.definition import BlocDefinition
from cableway.errors import DefinitionError
from scripts import build_docs

CONTEXTS = "tests.unit.blocs.contexts"


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_type_says_what_it_is(name: str) -> None:
    catalog = Catalog()
    described = catalog.describe(name)
    assert described["name"] == name == catalog.load(name).bloc_type
    assert described["summary"].endswith(".")
    assert described["config"]["additionalProperties"] is False
    for field, schema in described["config"]["properties"].items():
        assert schema.get("description"), f"{name}.{field} is not described"
    _, faults = catalog.normalise(name, described["example"])
    assert faults == []


def test_the_page_on_blocs_is_up_to_date() -> None:
    assert build_docs.read(build_docs.ROOT / "docs/blocs.md") == build_docs.text_of("docs/blocs.md")


def test_an_unknown_type_is_answered_with_near_ones() -> None:
    with pytest.raises(DefinitionError, match="near it: csv_loader") as caught:
        Catalog().load("csv_laoder")
    assert caught.value.faults[0].code == "unknown_bloc"


def test_a_module_brings_the_types_that_it_defines() -> None:
    catalog = Catalog([CONTEXTS])
    assert catalog.path("times") == f"{CONTEXTS}:TimesBloc"
    assert {"times", "counting", "csv_loader"} <= set(catalog.names())
    bloc = catalog.build(BlocDefinition(name="t", bloc_type="times", config={"by": 5}), checked=False)
    assert bloc.name == "t"
    assert bloc.config.by == 5


def test_an_inherited_field_is_described_as_its_base_describes_it() -> None:
    catalog = Catalog([CONTEXTS])
    fields = catalog.describe("times_and_more")["config"]["properties"]
    said = {name: schema["description"] for name, schema in fields.items()}
    assert said == {"by": "By how much.", "more": "Whether the next one follows."}


def test_an_entry_point_brings_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    def plugged(**_: Any) -> list[EntryPoint]:
        return [EntryPoint("times", f"{CONTEXTS}:TimesBloc", "cableway.blocs")]

    monkeypatch.setattr("importlib.metadata.entry_points", plugged)
    assert Catalog().load("times").summary == "Multiplies."


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"'no\.such\.module', which cannot be imported"):
        Catalog(["no.such.module"]).load("times")


def test_a_built_in_name_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.blocs import contexts

    monkeypatch.setattr(contexts.TimesBloc, "bloc_type", "csv_loader")
    with pytest.raises(DefinitionError, match="'csv_loader' is taken"):
        Catalog([CONTEXTS]).load("times")


def test_a_config_is_judged_field_by_field() -> None:
    definition = BlocDefinition(
        name="flights", bloc_type="csv_loader", config={"batch_size": 0, "sep": ";", "types": {"a": 5}}
    )
    with pytest.raises(DefinitionError) as caught:
        Catalog().build(definition, checked=False)
    assert {fault.pointer for fault in caught.value.faults} == {"/file_path", "/batch_size", "/sep", "/types/a"}


def test_a_checked_config_of_another_version_is_refused() -> None:
    definition = BlocDefinition(name="x", bloc_type="pass_through", config={"gone": 1})
    with pytest.raises(DefinitionError, match="save the pipeline again"):
        Catalog().build(definition, checked=True)


def test_defaults_are_written_out_and_read_back() -> None:
    catalog = Catalog()
    config, faults = catalog.normalise("csv_loader", {"file_path": "a.csv"})
    assert faults == []
    assert config["delimiter"] == ","
    bloc = catalog.build(BlocDefinition(name="l", bloc_type="csv_loader", config=config), checked=True)
    assert (
        bloc.config
        == catalog.build(
            BlocDefinition(name="l", bloc_type="csv_loader", config={"file_path": "a.csv"}), checked=False
        ).config
    )


def test_a_secret_in_a_pydantic_config_keeps_its_reference() -> None:
    config, faults = Catalog([CONTEXTS]).normalise("counting", {"token": "${secret:TOKEN}"})
    assert faults == []
    assert config == {"token": "${secret:TOKEN}", "size": 1}


def test_a_reference_may_stand_for_a_number() -> None:
    config, faults = Catalog().normalise("csv_loader", {"file_path": "a", "batch_size": "${param:size}"})
    assert faults == []
    assert config["batch_size"] == "${param:size}"


def test_building_a_checked_bloc_loads_nothing_heavy() -> None:
    program = """
import sys
from cableway.catalog import Catalog
from cableway.definition import BlocDefinition
definition = BlocDefinition(name="n", bloc_type="pass_through", config={"source_bloc": None})
Catalog(["not.imported"]).build(definition, checked=True)
heavy = {"pydantic", "pydantic_core", "annotated_types", "pandas", "numpy", "pyarrow", "psycopg", "yaml"}
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy or name == "importlib.metadata"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
