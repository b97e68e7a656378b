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


FILE = """
name: read
stages:
  - name: load
    blocs:
      - name: rows
        bloc_type: csv_loader
        config: {file_path: rows.csv, types: {at: "%s"}, batch_size: 10, incremental: {cursor_field: at}}
  - name: write
    blocs:
      - {name: kept, bloc_type: jsonl_exporter, config: {file_path: "{run_id}.jsonl"}}
"""


@pytest.mark.parametrize(
    ("kind", "at", "refused", "wanted", "taken"),
    [
        ("int64", "5", ["soon", "1e3"], "read up to 5: ", "3"),
        ("decimal(9,2)", "5.25", ["soon"], "read up to 5.25: ", "3.5"),
        ("date", "2026-01-05", ["5", "today"], "read up to 2026-01-05: ", "2026-01-31"),
        (
            "timestamp",
            "2026-01-05T08:00:00",
            ["5", "now"],
            "read up to 2026-01-05T08",
            "2026-01-31T08:00:00+00:00",
        ),
        ("string", "b", [], "", "20260101"),
    ],
)
def test_a_value_that_the_field_cannot_hold_is_refused(
    cableway: Command, kind: str, at: str, refused: list[str], wanted: str, taken: str
) -> None:
    Path("rows.csv").write_text(f"at\n{at}\n")
    Path("read.yaml").write_text(FILE % kind)
    assert cableway("apply", "read.yaml") == 0, cableway.err
    assert cableway("state", "set", "read", taken) == 0, "nothing is known of the field yet"
    assert cableway("state", "reset", "read") == 0
    assert cableway("run", "read") == 0, cableway.err
    before = cableway.json("state", "show", "read")
    for value in refused:
        assert cableway("state", "set", "read", value) == 2
        assert wanted in cableway.err
    assert cableway.json("state", "show", "read") == before
    assert cableway("state", "set", "read", taken) == 0, cableway.err
    assert cableway("run", "read") == 0, cableway.err
