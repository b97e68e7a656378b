"""``cableway prune``."""

from __future__ import annotations

import json

from tests.unit.cli.conftest import Command


def test_what_is_old_is_counted_and_deleted(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml").code == 0
    assert cableway("run", "tiny", "-p", "day=2026-01-01").code == 0
    kept = cableway("prune", "--older-than", "1d", "--json")
    assert json.loads(kept.out) == {"runs": 0, "ticks": 0, "deliveries": 0, "versions": 0}
    assert "would be deleted: 0 runs, 0 ticks" in cableway("prune", "--older-than", "1d", "--dry-run").err


def test_an_age_that_is_none_is_told(cableway: Command) -> None:
    refused = cableway("prune", "--older-than", "soon")
    assert refused.code == 2
    assert "'soon' is no age" in refused.err
