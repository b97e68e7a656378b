"""Documents in files and folders, checked and shown without a database."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import PIPELINE, Command


@pytest.fixture
def folder(cableway: Command) -> Path:
    folder = Path("pipelines")
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "tiny.yaml").write_text(PIPELINE)
    (folder / "below" / "other.yaml").write_text(PIPELINE.replace("name: tiny", "name: other"))
    (folder / ".hidden" / "tiny.yaml").write_text(PIPELINE)
    (folder / "data.json").write_text("[1, 2]")
    (folder / "notes.yaml").write_text("about: the stages of a rocket\n")
    return folder


def test_a_folder_is_validated_with_all_below_it(cableway: Command, folder: Path) -> None:
    assert cableway("validate", str(folder)) == 0
    assert cableway.err.splitlines() == [
        "pipelines/notes.yaml: skipped, it has no `stages`",
        "other: 3 stages, 3 blocs, valid",
        "tiny: 3 stages, 3 blocs, valid",
    ]
    assert [row["name"] for row in cableway.json("validate", str(folder))] == ["other", "tiny"]


def test_the_faults_of_all_files_come_at_once_with_their_files(cableway: Command, folder: Path) -> None:
    (folder / "tiny.yaml").write_text(PIPELINE.replace("csv_loader", "csv_laoder"))
    (folder / "worse.yaml").write_text("stages: [")
    problem = cableway.json("validate", str(folder), code=78)
    assert [fault["pointer"] for fault in problem["errors"]] == [
        "pipelines/tiny.yaml#/stages/0/blocs/0/bloc_type",
        "pipelines/worse.yaml#",
    ]
    assert "csv_loader" in cableway.err
    assert "line 8, pipelines/tiny.yaml#/stages/0" in cableway.err


def test_two_files_with_one_name_are_a_fault(cableway: Command, folder: Path) -> None:
    (folder / "twice.yaml").write_text(PIPELINE)
    assert cableway("validate", str(folder)) == 78
    assert "pipelines/twice.yaml#/name: pipelines/tiny.yaml has the name 'tiny' already" in cableway.err


def test_a_folder_without_a_pipeline_says_so(cableway: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert cableway("validate", "empty") == 78
    assert "no pipeline document in this folder" in cableway.err


def test_a_file_is_shown_as_it_was_written_and_with_every_default(cableway: Command) -> None:
    assert cableway("show", "tiny.yaml") == 0
    assert yaml.safe_load(cableway.out) == yaml.safe_load(PIPELINE)
    assert cableway("show", "tiny.yaml", "--normalized") == 0
    assert yaml.safe_load(cableway.out)["settings"]["max_errors"] == 0
    assert cableway.json("show", "tiny.yaml")["document"]["name"] == "tiny"
    assert cableway("show", "tiny.yaml", "--version", "1") == 2


def test_the_schema_is_printed_or_written(cableway: Command) -> None:
    schema = cableway.json("schema")
    assert "stages" in schema["properties"]
    assert cableway("schema", "-o", "pipeline.schema.json") == 0
    assert "yaml-language-server" in cableway.err
    assert Path("pipeline.schema.json").read_text() == cableway_schema(cableway)
    assert cableway("schema", "-o", "nowhere/x.json") == 2


def cableway_schema(cableway: Command) -> str:
    assert cableway("schema") == 0
    return cableway.out
