"""Rows that a bloc refuses while the others of their item go on."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.store.port import DeadLetter
from tests.unit.job.running import Ran, bloc, pipeline, run, seen, stage


def sifting(on_error: str = "dead_letter", *, lane: str | None = None, source: bool = False, **settings: Any) -> Ran:
    """Numbers 0 to 4, of which 1 and 3 are refused, by the loader itself or by the stage after it."""
    entry = {"lane": lane} if lane else {}
    if source:
        stages = [stage(bloc("sifted_numbers", count=5, batch_size=1), on_error=on_error)]
    else:
        stages = [stage(bloc("numbers", count=5, batch_size=1)), stage(bloc("sift", **entry), on_error=on_error)]
    return run(pipeline(*stages, stage(bloc("keep")), **settings))


def places(letters: list[DeadLetter]) -> list[tuple[str, str]]:
    return sorted((letter.item_id, letter.bloc) for letter in letters)


@pytest.mark.parametrize("lane", ["async", "thread", "process"])
def test_they_are_dead_letters_of_their_own_in_every_lane(lane: str) -> None:
    ran = sifting(lane=lane, max_errors=2)
    assert (ran.code, ran.run.state) == (0, "completed_with_errors")
    assert places(list(ran.letters)) == [("n1#odd", "sift"), ("n3#odd", "sift")]
    assert ran.letters[0].error_type == "RowError"
    assert ran.letters[0].payload in ({"n": 1}, {"n": 3})
    assert ran.result.counts["rows_refused"] == 2
    assert [value for value in seen("keep") if isinstance(value, list)] == [[0], [], [2], [], [4]]


def test_those_of_a_source_stand_under_their_place_in_it() -> None:
    ran = sifting(source=True, max_errors=2)
    assert places(list(ran.letters)) == [("n1", "sifted_numbers"), ("n3", "sifted_numbers")]
    assert (ran.run.state, ran.result.counts["emitted"]) == ("completed_with_errors", 6)


def test_they_count_as_errors_of_the_run() -> None:
    ran = sifting()
    assert (ran.code, ran.reason) == (3, "items_failed")
    assert ran.detail == "2 rows were refused, max_errors is 0"


def test_a_share_of_errors_counts_them_as_items() -> None:
    assert sifting(max_errors="25%").code == 0  # 2 of 6 items and 2 rows
    assert sifting(max_errors="24%").code == 3


def test_a_stage_may_skip_them() -> None:
    ran = sifting("skip")
    assert (ran.code, ran.run.state, list(ran.letters)) == (0, "succeeded", [])
    assert ran.result.counts["rows_skipped"] == 2


def test_a_stage_may_fail_the_run_for_the_first() -> None:
    ran = sifting("fail_run")
    assert (ran.code, ran.reason) == (3, "items_failed")
    assert "a row was refused, and stage 's_sift' fails the run for that: numbers, column 'n': is odd" in ran.detail
