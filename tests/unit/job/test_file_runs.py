"""Files that a run reads: rows that cannot be read, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.job.running import bloc, pipeline, run, stage

ROWS = "n,s\n1,a\ns3cret,b\n3,c\n4\n5,e\n"


def loading(path: Path, **config: object) -> dict[str, object]:
    return bloc("csv_loader", file_path=str(path), batch_size=2, types={"n": "int64"}, **config)


@pytest.mark.fault("F10")
def test_bad_rows_are_dead_letters_of_their_own_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(ROWS)
    stages = [stage(loading(path, on_bad_row="dead_letter")), stage(bloc("pass_through"))]
    ran = run(pipeline(*stages, max_errors=2))
    assert (ran.code, ran.run.state) == (0, "completed_with_errors")
    letters = [(letter.item_id, letter.error_type, letter.payload) for letter in ran.letters]
    assert letters == [
        ("0:0:4:1", "BadRowError", {"row": "s3cret,b"}),
        ("0:2:17:1", "BadRowError", {"row": "4"}),
    ]
    assert "row 2, column 'n': a value is no int64" in ran.letters[0].message
    assert not any("s3cret" in letter.message for letter in ran.letters)
    counts = ran.result.counts
    assert counts["emitted"] == 6
    assert counts["emitted"] == sum(count for name, count in counts.items() if name != "emitted")
    assert ran.result.rows_in == 3
    assert run(pipeline(*stages, max_errors=1)).reason == "items_failed"


@pytest.mark.fault("F10")
def test_a_bad_row_fails_the_run_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(ROWS)
    ran = run(pipeline(stage(loading(path)), stage(bloc("pass_through"))))
    assert (ran.code, ran.reason) == (3, "source_error")
    assert "data.csv: row 2, column 'n'" in ran.detail
    assert "s3cret" not in ran.detail
    assert run(pipeline(stage(loading(path, on_bad_row="skip")), stage(bloc("pass_through")))).code == 0


@pytest.mark.fault("F8")
def test_a_pipe_never_holds_a_run_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", tmp_path / "*.csv"):
        ran = run(pipeline(stage(loading(path)), stage(bloc("pass_through"))))
        assert (ran.code, ran.reason) == (3, "source_error")
        assert "is no regular file" in ran.detail
