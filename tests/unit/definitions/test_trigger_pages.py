"""What the pages on webhooks and Lambda show is taken as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit.definitions.checking import check

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["webhooks.md", "lambda.md"])
def test_the_pipelines_of_a_page_pass_the_checks(page: str) -> None:
    blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        assert check(yaml.safe_load(block)).triggers
