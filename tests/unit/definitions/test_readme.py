"""The pipeline that the README opens with is one that can be saved."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from cableway.catalog import Catalog
from cableway.checks import check_document

README = Path(__file__).resolve().parents[3] / "README.md"


def test_the_pipeline_of_the_readme_is_valid() -> None:
    found = re.search(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    definition = check_document(yaml.safe_load(found[1]), catalog=Catalog())
    assert [stage.name for stage in definition.stages] == ["read", "work", "write"]
