"""Killed once at every named place, a run leaves what one clean run would."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.failpoints import PLACES
from tests.integration.faults.process import query
from tests.integration.job.test_kills import (
    BATCH,
    KILLED,
    REFUSED,
    World,
    assert_rows_of_one_clean_run,
    world,
    written,
)

__all__ = ["world"]


@pytest.mark.chaos
@pytest.mark.promise("P17")
@pytest.mark.fault("B4")
@pytest.mark.parametrize("place", PLACES)
def test_killed_there(world: World, place: str) -> None:
    check: dict[str, Any] = {"name": "good", "bloc_type": "checked_rows", "config": {"refuse": REFUSED}}
    stages: list[dict[str, Any]] = [
        {"name": "check", "blocs": [check], "workers": 3},
        {"name": "write", "blocs": written("good"), "batch": {"count": 3}},
    ]
    run_id = world.record(*stages, max_errors=1)
    first = world.attempt(run_id, f"{place}:kill")
    assert first == KILLED, "the place was never reached"
    last = world.attempt(run_id)
    assert last == 0
    assert_rows_of_one_clean_run(world, range(REFUSED, REFUSED + BATCH))
    letters = query(world.here, "SELECT stage, bloc, error_type FROM cableway.dead_letters")
    assert letters == [("check", "good", "ValueError")]
