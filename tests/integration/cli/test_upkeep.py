"""``cableway prune``."""

from __future__ import annotations

from tests.unit.cli.conftest import Command


def test_what_is_old_is_counted_and_deleted(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    assert cableway("run", "tiny", "-p", "day=2026-01-01") == 0
    kept = cableway.json("prune", "--older-than", "1d", "--json")
    assert kept == {"runs": 0, "ticks": 0, "deliveries": 0, "versions": 0}
    assert cableway("prune", "--older-than", "1d", "--dry-run") == 0
    assert "would be deleted: 0 runs, 0 ticks" in cableway.err


def test_an_age_that_is_none_is_told(cableway: Command) -> None:
    assert cableway("prune", "--older-than", "soon") == 2
    assert "'soon' is no age" in cableway.err
