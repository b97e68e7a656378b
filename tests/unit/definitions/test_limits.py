from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.checks import check_document, read_document
from cableway.errors import DefinitionError
from tests.fixtures.processor_time import within
from tests.unit.definitions.checking import check, faults_in, faults_of, inline, pipeline

COUNT = 10_000


def chain() -> list[Any]:
    return [[inline(f"b{n}", config={"source_bloc": f"b{n - 1}"} if n else {})] for n in range(COUNT)]


def star() -> list[Any]:
    return [[inline("b0")], [inline(f"b{n}", config={"source_bloc": "b0"}) for n in range(1, COUNT)]]


def layered() -> list[Any]:
    return [
        [inline(f"b{row}-{n}", config={"source_bloc": f"b{row - 1}-{n}"} if row else {}) for n in range(100)]
        for row in range(COUNT // 100)
    ]


@pytest.mark.promise("P22")
@pytest.mark.parametrize("stages", [chain, star, layered])
def test_ten_thousand_blocs_of_any_shape_are_checked(stages: Any) -> None:
    document = pipeline(stages=stages())
    with within(6):  # the two seconds are benchmarks/checks.py's
        definition = check(document)
    assert sum(len(stage.blocs) for stage in definition.stages) == COUNT


@pytest.mark.promise("P22")
def test_as_many_faults_take_no_longer() -> None:
    count = COUNT // 8
    stages = [[inline(f"b{n}", f"type_{n}") for n in range(count)]]
    stages += [[inline(f"c{n}", config={"source_bloc": f"b{n}x", "more": 1}) for n in range(count)]]
    with within(10):
        faults = faults_in(pipeline(stages=stages))
    assert len(faults) == count * 3


def test_blocs_that_could_read_any_of_thousands_are_told_so_quickly() -> None:
    stages = [[inline(f"b{n}") for n in range(COUNT // 2)], [inline(f"c{n}") for n in range(COUNT // 2)]]
    with within(10):
        assert len(faults_of(pipeline(stages=stages))) == COUNT // 2


@pytest.mark.promise("P22")
def test_more_blocs_than_a_pipeline_has_are_refused_at_once() -> None:
    document = pipeline(stages=[[inline(f"b{n}") for n in range(100_000)]])
    with within(10):
        assert faults_of(document) == {"/stages": "too_large"}


@pytest.mark.promise("P22")
@pytest.mark.parametrize(
    "value", ["x" * 50_000_000, [1] * 2_000_000, ["x" * 1000] * 50_000], ids=["text", "values", "sum"]
)
def test_fifty_megabytes_are_refused_at_once(value: Any) -> None:
    with within(10):
        assert faults_of(pipeline(description=value)) == {"": "too_large"}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.promise("P22")
def test_deep_nesting_is_refused_at_once() -> None:
    with within(10):
        assert list(faults_of(pipeline(description=nested(10_000))).values()) == ["too_deep"]


@pytest.mark.promise("P22")
@pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.toml"])
@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", '{"a":'])
def test_a_deeply_nested_file_is_refused_at_once(tmp_path: Path, name: str, opening: str) -> None:
    for levels in (10_000, 170_000):
        (tmp_path / name).write_text(opening * levels)
        with within(10), pytest.raises(DefinitionError):
            check_document(read_document(tmp_path / name), catalog=Catalog())


@pytest.mark.promise("P22")
def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.touch()
    os.truncate(path, 50_000_000)
    with within(10), pytest.raises(DefinitionError, match="larger than 1 MiB"):
        read_document(path)


def test_a_pipe_is_no_document(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.yaml")
    with pytest.raises(DefinitionError, match="is no regular file"):
        read_document(tmp_path / "p.yaml")


@pytest.mark.promise("P22")
def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "p.yaml").write_text("\n".join(["name: p", "stages: [[{name: a, bloc_type: pass_through}]]", *lines]))
    with within(10):
        assert faults_of(read_document(tmp_path / "p.yaml")) == {"": "too_large"}


def test_a_document_within_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("name: p\nstages: &s [*s]\n")
    with within(10):
        assert set(faults_of(read_document(tmp_path / "p.yaml")).values()) == {"too_deep"}


@pytest.mark.parametrize("what", ["parameters", "triggers"])
def test_there_are_only_so_many(what: str) -> None:
    assert faults_of(pipeline(**{what: {f"n{n}": {} for n in range(1001)}})) == {f"/{what}": "too_large"}


@pytest.mark.promise("P22")
@pytest.mark.parametrize(
    "path", ["os:system", "builtins:eval", "../../x", "cableway.blocs.csv_files.loader:CsvLoaderBloc", "", "x" * 10_000]
)
def test_only_registered_types_are_blocs(path: str) -> None:
    assert faults_of(pipeline(stages=[[inline("a", path)]])) == {"/stages/0/0/bloc_type": "unknown_bloc"}


@pytest.mark.promise("P22")
@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "..", "a/../../b", "/proc/self/environ", "/dev/zero", "/dev", "//sys/x", "/tmp/../proc/1"],
)
def test_a_path_that_leads_nowhere_good_is_refused(path: str) -> None:
    document = pipeline(stages=[[inline("a", "csv_loader", config={"file_path": path})]])
    assert faults_of(document) == {"/stages/0/0/config/file_path": "invalid"}


@pytest.mark.parametrize("path", ["data/a.csv", "./a.csv", "a/../b.csv", "/data/a.csv", "..a", "${param:dir}/../a.csv"])
def test_another_path_is_taken(path: str) -> None:
    check(pipeline(parameters={"dir": {}}, stages=[[inline("a", "csv_loader", config={"file_path": path})]]))


def test_what_is_no_mapping_is_no_document() -> None:
    assert faults_of([["a"]]) == {"": "dict_type"}
