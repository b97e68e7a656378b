"""``cableway state``: how far a source was read, shown, set and reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command

PIPELINE = """
name: growing
stages:
  - name: load
    blocs:
      - name: rows
        bloc_type: listed
        config: {incremental: {cursor_field: at}}
  - name: write
    blocs:
      - {name: kept, bloc_type: kept}
"""


@pytest.fixture
def growing(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("CABLEWAY_BLOCS", "tests.unit.job.line_blocs")
    Path("growing.yaml").write_text(PIPELINE)
    assert cableway("apply", "growing.yaml") == 0, cableway.err
    return cableway


def told(command: Command, *arguments: str) -> str:
    """What the command says, on either stream."""
    command(*arguments)
    return command.out + command.err


def test_the_state_is_shown_set_and_reset(growing: Command) -> None:
    assert "no run" in told(growing, "state", "show", "growing")
    assert "from 7 on" in told(growing, "state", "set", "growing", "7")
    assert "from the start" in told(growing, "state", "reset", "growing")
    lines = growing.json("state", "show", "growing")
    assert [(line["loader"], line["epoch"], line["last"]) for line in lines] == [("rows", 1, None), ("rows", 0, 7)]
    assert "rows" in told(growing, "state", "show", "growing")


def test_what_keeps_no_cursor_is_named(growing: Command) -> None:
    assert growing("state", "reset", "growing", "--loader", "kept") != 0
    assert "rows" in growing.err
    assert growing("state", "show", "nothing") != 0
