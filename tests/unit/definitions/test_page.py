"""The documents on the page about pipelines are what the page says that they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.checks import MAX_BLOCS, check_document, read_document
from cableway.definitions.bounds import MAX_TRIES
from cableway.definitions.document_schema import pipeline_schema
from cableway.definitions.documents import MAX_BYTES, MAX_DEPTH
from tests.unit.definitions.checking import check, faults_of, inline, pipeline

PAGE = (Path(__file__).parents[3] / "docs/pipelines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml|json|toml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PARTS = [text for _, text in BLOCKS if text.startswith("# part\n")]
FAULTY = [text for _, text in BLOCKS if text.startswith("# faults: ")]
RUNS = (Path(__file__).parents[3] / "docs/runs.md").read_text(encoding="utf-8")
PARTS_ON_RUNS = re.findall(r"^```yaml\n(# part\n.*?)^```$", RUNS, re.MULTILINE | re.DOTALL)
WHOLE = [(kind, text) for kind, text in BLOCKS if text not in {*PARTS, *FAULTY}]
OTHER_PAGES = [
    pytest.param(text, id=f"{name}-{number}")
    for name in ("exactly-once", "postgres", "webhooks")
    for number, text in enumerate(
        re.findall(
            r"^```yaml\n(name: .*?)^```$",
            (Path(__file__).parents[3] / f"docs/{name}.md").read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
    )
]
BASE = pipeline(
    parameters={"day": {"required": True}},
    stages=[[inline("a", "csv_loader", config={"file_path": "a.csv"})]],
)


def document_of(folder: Path, text: str, kind: str = "yaml") -> dict[str, Any]:
    path = folder / f"p.{kind}"
    path.write_text(text)
    return read_document(path)


@pytest.mark.parametrize(("kind", "text"), WHOLE)
def test_a_whole_document_is_right(tmp_path: Path, kind: str, text: str) -> None:
    check_document(document_of(tmp_path, text, kind), catalog=Catalog())


@pytest.mark.parametrize("text", OTHER_PAGES)
def test_a_whole_document_on_another_page_is_right(tmp_path: Path, text: str) -> None:
    check_document(document_of(tmp_path, text), catalog=Catalog())


@pytest.mark.parametrize("text", PARTS)
def test_a_part_fits_into_a_document(tmp_path: Path, text: str) -> None:
    check({**BASE, **document_of(tmp_path, text)})


@pytest.mark.parametrize("text", PARTS_ON_RUNS)
def test_a_part_on_the_page_of_runs_fits_into_a_document(tmp_path: Path, text: str) -> None:
    check({**BASE, "parameters": {"customer": {"required": True}}, **document_of(tmp_path, text)})


@pytest.mark.parametrize("text", FAULTY)
def test_a_faulty_document_has_the_faults_that_it_lists(tmp_path: Path, text: str) -> None:
    listed = text.partition("\n")[0].removeprefix("# faults: ").split(", ")
    assert sorted(faults_of(document_of(tmp_path, text))) == sorted(listed)


def test_the_two_forms_of_the_pipeline_do_the_same(tmp_path: Path) -> None:
    first, second = (check_document(document_of(tmp_path, text), catalog=Catalog()) for _, text in WHOLE[:2])
    blocs = [[stage.blocs for stage in definition.stages] for definition in (first, second)]
    assert blocs[0] == blocs[1]


def test_the_page_names_every_setting_of_a_run_and_every_limit() -> None:
    for name in pipeline_schema(Catalog())["$defs"]["RunSettings"]["properties"]:
        assert f"\n  {name}: " in PAGE, name
    for limit in (f"{MAX_BYTES >> 20} MiB", f"{MAX_DEPTH} levels", f"{MAX_BLOCS:,} each", f"| {MAX_TRIES} |"):
        assert limit in PAGE, limit
    assert len(PARTS) == 2
    assert FAULTY
