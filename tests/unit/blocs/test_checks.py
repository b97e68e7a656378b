from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.checks import check_definition, check_document, read_document
from cableway.definition import BlocDefinition, PipelineDefinition
from cableway.errors import DefinitionError
from cableway.examples import build_example_pipeline
from tests.fixtures.processor_time import within

LOADER = {"bloc_type": "csv_loader", "config": {"file_path": "a.csv", "batch_size": 10}}
SIDE = {"bloc_type": "csv_loader", "config": {"file_path": "b.csv"}}
TIMES = {"bloc_type": "example_transformer", "config": {"factor": 2, "source_bloc": "load"}}
EXPORTER = {"bloc_type": "postgres_exporter", "config": {"table_name": "t", "source_bloc": "times"}}
BLOCS = {"load": LOADER, "side": SIDE, "times": TIMES, "export": EXPORTER}
GOOD: dict[str, Any] = {"name": "p", "blocs": BLOCS, "stages": [["load", "side"], ["times"], ["export"]]}


def check(document: Mapping[str, Any], **options: Any) -> PipelineDefinition:
    return check_document(document, catalog=Catalog(), **options)


def faults_of(document: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(DefinitionError) as caught:
        check(document)
    return {fault.pointer: fault.code for fault in caught.value.faults}


def inline(name: str, bloc_type: str = "pass_through", **fields: Any) -> dict[str, Any]:
    return {"name": name, "bloc_type": bloc_type, **fields}


def test_a_list_of_lists_of_names_is_a_pipeline() -> None:
    definition = check(GOOD)
    assert [stage.name for stage in definition.stages] == ["stage_1", "times", "export"]
    assert [bloc.name for bloc in definition.stages[0].blocs] == ["load", "side"]
    assert definition.stages[1].blocs[0].config == {"factor": 2.0, "source_bloc": "load"}


def test_stages_may_be_names_and_mappings() -> None:
    stages = [
        "load",
        {"name": "clean", "lane": "process", "blocs": [inline("times", "example_transformer")]},
        ["export"],
    ]
    definition = check({**GOOD, "blocs": {"load": LOADER, "export": EXPORTER}, "stages": stages})
    assert [(stage.name, stage.lane) for stage in definition.stages] == [
        ("load", None),
        ("clean", "process"),
        ("export", None),
    ]


def test_names_are_looked_up_among_the_blocs_of_the_database() -> None:
    stored = {"times": BlocDefinition(name="times", bloc_type="example_transformer", config={"factor": 3})}
    definition = check({"name": "p", "stages": [["times"]]}, blocs=stored)
    assert definition.stages[0].blocs[0].config["factor"] == 3


def test_a_normalised_definition_is_checked_to_itself() -> None:
    definition = check(GOOD)
    assert check_definition(definition, catalog=Catalog()) == definition
    assert PipelineDefinition.restore(definition.document()) == definition


@pytest.mark.promise("P22")
def test_every_fault_is_listed_at_once() -> None:
    document = {
        "nam": "p",
        "settings": {"max_errors": "lots", "timeout_s": -1},
        "stages": [
            ["lod", inline("one", "csv_loader", config={"file_path": "a", "zz": 1})],
            {
                "name": "error",
                "workers": 0,
                "blocs": [inline("two", "exmple_transformer", inputs=["two", "non", "late"])],
            },
            [],
            7,
            {
                "queue_size": "5",
                "blocs": [inline("late", "postgres_exporter", lane="process", config={}), inline("one")],
            },
        ],
    }
    assert faults_of(document) == {
        "/nam": "unexpected_keyword_argument",
        "/name": "missing",
        "/settings/max_errors": "range",
        "/settings/timeout_s": "range",
        "/stages/0/0": "unknown_bloc",
        "/stages/0/1/config/zz": "unexpected_keyword_argument",
        "/stages/1/name": "reserved",
        "/stages/1/workers": "range",
        "/stages/1/blocs/0/bloc_type": "unknown_bloc",
        "/stages/1/blocs/0/inputs/0": "input",
        "/stages/1/blocs/0/inputs/1": "input",
        "/stages/1/blocs/0/inputs/2": "input",
        "/stages/2": "empty",
        "/stages/3": "dataclass_type",
        "/stages/4/queue_size": "int_type",
        "/stages/4/blocs/0/config": "input",
        "/stages/4/blocs/0/config/table_name": "missing",
        "/stages/4/blocs/0/lane": "lane",
        "/stages/4/blocs/1/name": "duplicate",
    }


MISFITS: list[tuple[list[Any], str]] = [
    ([], "/stages"),
    ([["load"], []], "/stages/1"),
    ([["load", {"name": "more", **LOADER}]], "/stages/0/1"),
    ([["side"], ["load"]], "/blocs/load"),
    ([[inline("a", config={"source_bloc": "a"})]], "/stages/0/0/config/source_bloc"),
    ([["side"], [inline("a"), inline("b", config={"source_bloc": "a"})]], "/stages/1/1/config/source_bloc"),
    ([["side"], [inline("a"), inline("b")], [inline("c")]], "/stages/2/0/config"),
    ([["side"], [inline("x", inputs=["nowhere"])]], "/stages/1/0/inputs/0"),
    (
        [["side"], {"gather": True, "blocs": [inline("e", "postgres_exporter", config={"table_name": "t"})]}],
        "/stages/1/blocs/0",
    ),
    ([{"gather": True, "blocs": [inline("a")]}], "/stages/0/gather"),
    ([{"lane": "interpreter", "blocs": [inline("a")]}], "/stages/0/blocs/0"),
    ([[inline("a", config={"source_bloc": "${param:gone}"})]], "/stages/0/0/config/source_bloc"),
    ([{"batch": {}, "blocs": [inline("a")], "name": "s"}], "/stages/0/batch"),
    ([[inline("a/b")]], "/stages/0/0/name"),
]


@pytest.mark.promise("P22")
@pytest.mark.parametrize(("stages", "pointer"), MISFITS)
def test_what_cannot_run_is_refused_where_it_stands(stages: list[Any], pointer: str) -> None:
    used = {name for name in BLOCS if name in json.dumps(stages)}
    found = faults_of({"name": "p", "blocs": {name: BLOCS[name] for name in used}, "stages": stages})
    assert pointer in found


def test_two_exporters_cannot_replace_one_table() -> None:
    twice = [inline(name, "postgres_exporter", config={"table_name": "t"}) for name in ("one", "two")]
    assert faults_of({"name": "p", "stages": [[inline("a")], twice]}) == {"/stages/1/1/config": "target"}


def test_a_bloc_that_no_stage_names_is_a_fault() -> None:
    assert faults_of({**GOOD, "blocs": {**BLOCS, "lost": TIMES}}) == {"/blocs/lost": "unused"}


def test_values_are_not_echoed() -> None:
    document = {
        "name": "p",
        "stages": [[inline("e", "postgres_exporter", config={"table_name": "t", "dsn": {"password": "s3cret"}})]],
    }
    with pytest.raises(DefinitionError) as caught:
        check(document)
    assert "s3cret" not in f"{caught.value} {caught.value.problem()}"


@pytest.mark.promise("P22")
def test_ten_thousand_blocs_take_less_than_two_seconds() -> None:
    stages = [
        [inline(f"b{row}-{n}", config={"source_bloc": f"b{row - 1}-{n}"} if row else {}) for n in range(100)]
        for row in range(100)
    ]
    with within(2):
        definition = check({"name": "big", "stages": stages})
    assert sum(len(stage.blocs) for stage in definition.stages) == 10_000


@pytest.mark.promise("P22")
def test_more_than_any_pipeline_has_is_refused() -> None:
    assert faults_of({"name": "p", "stages": [[inline(f"b{number}") for number in range(10_001)]]}) == {
        "/stages": "too_large"
    }
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert "too_deep" in faults_of({"name": "p", "stages": [], "description": deep}).values()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\x00", "\ud800", 2**70, b"bytes", {1: 2}])
def test_what_json_in_postgres_cannot_keep_is_refused(value: Any) -> None:
    found = faults_of({"name": "p", "stages": [[inline("a", config={"x": value})]]})
    assert found == {"/stages/0/0/config/x": "not_json"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.yaml", "name: p\nstages:\n  - [{name: a, bloc_type: pass_through}]\ndescription: 2024-01-01\n"),
        (
            "p.json",
            '{"name": "p", "stages": [[{"name": "a", "bloc_type": "pass_through"}]], "description": "2024-01-01"}',
        ),
        ("p.toml", 'name = "p"\ndescription = "2024-01-01"\nstages = [[{name = "a", bloc_type = "pass_through"}]]\n'),
    ],
)
def test_a_document_is_read_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    definition = check(read_document(tmp_path / name))
    assert definition.description == "2024-01-01"
    assert definition.stages[0].name == "a"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "name: p\n  stages: [", "line 2, column 9"),
        ("p.yaml", "name: p\nname: q\n", "line 2, column 1: the key 'name' stands twice"),
        ("p.yaml", "name: p\nstages:\n\t- a\n", "line 3, column 1: a tab stands where YAML wants spaces"),
        ("p.yaml", "name: p\n---\nname: q\n", "line 2, column 1: a second document begins; a file holds one"),
        ("p.json", '{"name": "p", "name": "q"}', "has the key 'name' twice"),
        ("p.json", '{"name": ', "line 1, column 10"),
        ("p.json", "[" * 100_000, "nested too deeply"),
        ("p.toml", "name = ", "is no TOML"),
        ("p.yaml", "- a\n", "holds no pipeline"),
        ("p.yaml", "# " + "x" * 1024 * 1024, "larger than 1 MiB"),
        ("p.txt", "", "ends in .yaml"),
    ],
)
def test_a_file_that_is_no_document_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DefinitionError) as caught:
        read_document(tmp_path / name)
    assert message in str(caught.value)


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"gone\.yaml: cannot be read: No such file"):
        read_document(tmp_path / "gone.yaml")
    with pytest.raises(DefinitionError, match="gone: cannot be read: No such file"):
        read_document(tmp_path / "gone")


def test_a_document_that_is_not_utf_8_says_in_which_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes("name: p\ndescription: café\n".encode("latin-1"))
    with pytest.raises(DefinitionError, match=r"p\.yaml: is not UTF-8: line 2 has"):
        read_document(tmp_path / "p.yaml")


def test_a_bomb_of_aliases_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "p.yaml").write_text("\n".join(lines))
    assert "too_large" in faults_of(read_document(tmp_path / "p.yaml")).values()


def test_the_example_of_the_repository_is_right() -> None:
    catalog = Catalog(["examples.flights.blocs"])
    definition = check_document(read_document("examples/flights/pipeline.yaml"), catalog=catalog)
    assert [stage.name for stage in definition.stages] == ["load", "clean", "sum", "store", "mean", "publish"]


def test_the_example_pipeline_is_right() -> None:
    definition = check_definition(build_example_pipeline("numbers.csv"), catalog=Catalog())
    assert definition.stages[0].blocs[0].config["file_path"] == "numbers.csv"
    assert [len(stage.blocs) for stage in definition.stages] == [1, 2, 1]


@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    ("modes", "faulty"),
    [
        (("replace", "append"), True),
        (("upsert", "swap"), True),
        (("fail", "replace"), True),
        (("append", "append"), False),
        (("append", "upsert"), False),
    ],
)
def test_no_exporter_writes_beside_one_that_writes_the_whole_table(modes: tuple[str, str], faulty: bool) -> None:
    exporters = [
        inline(
            mode + str(number),
            "postgres_exporter",
            config={"table_name": "t", "source_bloc": "load", "if_exists": mode, "key": ["n"]},
        )
        for number, mode in enumerate(modes)
    ]
    document = {**GOOD, "blocs": {"load": LOADER}, "stages": [["load"], *([exporter] for exporter in exporters)]}
    if faulty:
        assert faults_of(document) == {"/stages/2/0/config": "target"}
    else:
        check(document)
