"""`cableway limits`: set, listed, deleted."""

from __future__ import annotations

from tests.unit.cli.conftest import Command


def test_a_limit_from_its_making_to_its_end(cableway: Command) -> None:
    assert cableway("limits", "list") == 0
    assert "there are no limits" in cableway.err
    assert cableway("limits", "set", "crm") == 78
    assert "give a concurrency, a rate, or both" in cableway.err
    assert cableway("limits", "set", "crm", "--concurrency", "5", "--rate", "100", "--period", "60") == 0
    assert cableway("limits", "list") == 0
    assert "100 each 60 s" in cableway.out
    (row,) = cableway.json("limits", "list")
    assert (row["name"], row["concurrency"], row["slots_taken"]) == ("crm", 5, 0)
    assert cableway("limits", "delete", "crm") == 0
    assert cableway("limits", "delete", "crm") == 78
