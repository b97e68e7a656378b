"""`cableway init`; that the project works is among the integration tests."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import Command

FILES = {
    ".dockerignore",
    ".env",
    ".gitignore",
    "Dockerfile",
    "README.md",
    "blocs.py",
    "cases.yaml",
    "data/orders.csv",
    "pipeline.yaml",
    "test_pipeline.py",
}


def test_a_project_is_written_whole(cableway: Command) -> None:
    assert cableway("init", "orders") == 0
    written = {str(path.relative_to("orders")) for path in Path("orders").rglob("*") if path.is_file()}
    assert written == FILES
    assert "cd orders && cableway run --file pipeline.yaml" in cableway.err


def test_nothing_is_written_where_a_file_is_there(cableway: Command) -> None:
    Path("blocs.py").write_text("mine")
    assert cableway("init") == 2
    assert "blocs.py: there already" in cableway.err
    assert Path("blocs.py").read_text() == "mine"
    assert not Path("pipeline.yaml").exists()


def test_json_lists_the_files(cableway: Command) -> None:
    assert {str(Path(file).relative_to("x")) for file in cableway.json("init", "x")["files"]} == FILES


def test_a_folder_that_cannot_be_made_is_named(cableway: Command) -> None:
    Path("file").write_text("")
    assert cableway("init", "file/x") == 2
    assert "cannot be written" in cableway.err
