"""Rows that a bloc rejects while the others of their item go on."""

from __future__ import annotations

import pytest

from tests.unit.job.running import Ran, bloc, pipeline, run, seen, stage


def sifting(on_error: str = "dead_letter", *, lane: str | None = None, max_errors: int | str = 0) -> Ran:
    """Numbers 0 to 4, of which 1 and 3 are rejected."""
    entry = {"lane": lane} if lane else {}
    stages = [stage(bloc("numbers", count=5, batch_size=1)), stage(bloc("sift", **entry), on_error=on_error)]
    return run(pipeline(*stages, stage(bloc("keep")), max_errors=max_errors))


@pytest.mark.parametrize("lane", ["thread", "process"])
def test_they_are_dead_letters_of_their_own(lane: str) -> None:
    ran = sifting(lane=lane, max_errors=2)
    assert (ran.code, ran.run.state) == (0, "completed_with_errors")
    letters = sorted((letter.item_id, letter.bloc, letter.error_type, str(letter.payload)) for letter in ran.letters)
    assert letters == [("n1.2", "sift", "RowError", "{'n': 1}"), ("n3.2", "sift", "RowError", "{'n': 3}")]
    counts = ran.result.counts
    assert counts["failed"] == 2
    assert counts["emitted"] == sum(counts[name] for name in counts if name != "emitted")
    assert [value for value in seen("keep") if isinstance(value, list)] == [[0], [1], [2], [3], [4]]


def test_they_count_as_errors_of_the_run() -> None:
    ran = sifting()
    assert (ran.code, ran.reason) == (3, "items_failed")
    assert "numbers, column 'n': is odd" in ran.detail


def test_a_stage_may_skip_them() -> None:
    ran = sifting("skip")
    assert (ran.code, ran.run.state, list(ran.letters)) == (0, "succeeded", [])


def test_a_stage_may_fail_the_run_for_the_first() -> None:
    ran = sifting("fail_run")
    assert (ran.code, ran.reason) == (3, "items_failed")
    assert "its stage fails the run for that" in ran.detail
