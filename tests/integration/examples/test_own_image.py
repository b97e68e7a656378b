"""The blocs of somebody's own image, tested as their author would."""

from __future__ import annotations

from pathlib import Path

import pytest

from cableway.errors import DefinitionError
from cableway.testing import run_bloc, run_pipeline
from tests import need

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_image"
BLOCS = ["examples.own_image.letter_blocs"]


def test_the_pipeline_writes_a_line_to_each_guest() -> None:
    need.module("jinja2")
    report = run_pipeline(
        EXAMPLE / "pipeline.yaml", blocs=BLOCS, parameters={"file": str(EXAMPLE / "guests.csv")}, limit=2
    )
    assert report.ok
    assert report.exported["lines"] == (["Dear Ada, your 2 nights", "Dear Blaise, your 1 night"],)


def test_a_template_is_judged_before_anything_runs() -> None:
    need.module("jinja2")
    with pytest.raises(DefinitionError, match="no template"):
        run_bloc("template", {"text": "{{ name"}, blocs=BLOCS, inputs=[])
