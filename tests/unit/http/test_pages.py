"""The pipelines on the pages about HTTP and object stores pass the checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cableway.catalog import Catalog

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocs(page: str) -> list[dict[str, Any]]:
    texts = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    return [entry for text in texts if "bloc_type" in text for entry in yaml.safe_load(text)]


@pytest.mark.parametrize("entry", [*blocs("http.md"), *blocs("s3.md")], ids=lambda entry: entry["name"])
def test_a_bloc_of_a_page_passes_the_checks(entry: dict[str, Any]) -> None:
    _, faults = Catalog().normalise(entry["bloc_type"], entry["config"])
    assert faults == []


def test_a_pages_credentials_pass_the_checks() -> None:
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    (block,) = [one for one in BLOCK.findall(text) if one.startswith("auth:")]
    found = re.split(r"^(?=auth:)", block, flags=re.MULTILINE)[1:]
    assert len(found) == 4
    for one in found:
        config = {"url": "https://api.example.com", **yaml.safe_load(one)}
        assert Catalog().normalise("api_loader", config)[1] == []


def test_a_pages_incremental_keys_pass_the_checks() -> None:
    text = (DOCS / "http.md").read_text(encoding="utf-8")
    (block,) = [one for one in BLOCK.findall(text) if one.startswith("incremental:")]
    config = {"url": "https://api.example.com", **yaml.safe_load(block)}
    assert Catalog().normalise("api_loader", config)[1] == []
