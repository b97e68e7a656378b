from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cableway.checks import read_document
from cableway.errors import DefinitionError
from tests.unit.definitions.checking import check, faults_in, faults_of, inline, pipeline

YAML = """\
name: p
settings: {timeout_s: 0}
blocs:
  a:
    bloc_type: pass_through
  b: &b
    bloc_type: example_transformer
    config:
      factor: many
      source_bloc: gone
stages:
  - [a]
  - [b]
  - name: last
    workers: 0
    blocs:
      - {name: c, bloc_type: no_such,
         lane: moon}
      - <<: *b
        name: d
colour: red
"""
LINES = {
    "/settings/timeout_s": 2,
    "/blocs/b/config/factor": 9,
    "/blocs/b/config/source_bloc": 10,
    "/stages/2/workers": 15,
    "/stages/2/blocs/0/bloc_type": 17,
    "/stages/2/blocs/0/lane": 18,
    "/stages/2/blocs/1/config/factor": 9,
    "/stages/2/blocs/1/config/source_bloc": 10,
    "/colour": 21,
}


def faults_in_file(path: Path, text: str) -> dict[str, int | None]:
    path.write_text(text)
    return {fault.pointer: fault.line for fault in faults_in(read_document(path))}


@pytest.mark.promise("P22")
def test_a_fault_in_yaml_has_its_line(tmp_path: Path) -> None:
    assert faults_in_file(tmp_path / "p.yaml", YAML) == LINES


@pytest.mark.parametrize("indent", ["  ", "\t"])
def test_a_fault_in_json_has_its_line(tmp_path: Path, indent: str) -> None:
    text = f'{{\n{indent}"name": "p",\n{indent}"stages": [\n{indent * 2}[{{"name": "a",\n "bloc_type": "no"}}]\n]\n}}'
    assert faults_in_file(tmp_path / "p.json", text) == {"/stages/0/0/bloc_type": 5}


def test_a_fault_in_toml_has_none(tmp_path: Path) -> None:
    assert faults_in_file(tmp_path / "p.toml", 'name = "p"\nstages = [[]]\n') == {"/stages/0": None}


def test_what_is_missing_is_told_where_it_should_stand(tmp_path: Path) -> None:
    text = "name: p\nstages:\n  - - name: a\n      bloc_type: csv_loader\n"
    assert faults_in_file(tmp_path / "p.yaml", text) == {"/stages/0/0/config/file_path": 3}


def test_the_message_and_the_problem_say_the_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\nstages:\n  - []\n")
    with pytest.raises(DefinitionError, match=r"^line 3, /stages/0: must hold at least one bloc$") as caught:
        check(read_document(tmp_path / "p.yaml"))
    errors: Any = caught.value.problem()["errors"]
    assert errors == [
        {"pointer": "/stages/0", "code": "empty", "message": "must hold at least one bloc", "line": 3},
    ]


def test_keys_with_slashes_and_tildes_are_pointed_to() -> None:
    config = {"a/b": {"c~d": "${param:gone}"}}
    found = faults_of(pipeline(stages=[[inline("a", config=config)]]))
    assert "/stages/0/0/config/a~1b/c~0d" in found


def test_every_reference_is_looked_up() -> None:
    config = {"source_bloc": "${param:gone} ${parm:day} ${param:a-b} ${HH:mm} {{7*7}} %s"}
    faults = faults_in(pipeline(stages=[[inline("a", config=config)]]))
    assert [fault.code for fault in faults] == ["unknown_parameter", "reference", "unknown_parameter"]
    assert faults[1].message == "no references of the kind 'parm'; near it: param"


@pytest.mark.parametrize("text", ["${", "${size}", "${parm:size}", "${param:}", "${param:1}", "$ {param:size}"])
def test_only_a_reference_stands_for_a_number(text: str) -> None:
    bloc = inline("a", "csv_loader", config={"file_path": "a.csv", "batch_size": text})
    assert "int_type" in {fault.code for fault in faults_in(pipeline(parameters={"size": {}}, stages=[[bloc]]))}
    bloc["config"]["batch_size"] = "${param:size}"
    check(pipeline(parameters={"size": {}}, stages=[[bloc]]))


@pytest.mark.promise("P22")
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("NaN", "is no finite number"),
        ("-Infinity", "is no finite number"),
        ("1e400000", "is no finite number"),
        ('"\\u0000"', "holds a NUL"),
        ('"\\ud800"', "half of a surrogate"),
        ("9" * 19, "beyond 64 bits"),
        ("9" * 5000, "too many digits"),
        ("[" * 65 + "]" * 65, "nested more than 64"),
        ("[" * 20_000 + "]" * 20_000, "nested"),
        ('{"a": 1, "a": 2}', "twice"),
    ],
    ids=lambda text: text[:12],
)
def test_what_postgres_cannot_keep_as_json_is_refused(tmp_path: Path, value: str, said: str) -> None:
    (tmp_path / "p.json").write_text('{"name": "p", "stages": ["a"], "description": ' + value + "}")
    with pytest.raises(DefinitionError, match=said):
        check(read_document(tmp_path / "p.json"))
