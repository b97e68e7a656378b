"""Failpoints: nothing without the flag of a test, and then at the passing that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cableway import failpoints
from cableway.errors import SettingsError


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def armed(monkeypatch: pytest.MonkeyPatch, wish: str, testing: str = "1") -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(failpoints, "_ACTIONS", {"kill": lambda: done.append("killed")})
    failpoints.arm({"CABLEWAY_FAILPOINT": wish, "CABLEWAY_TESTING": testing})
    return done


def test_nothing_happens_without_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    done = armed(monkeypatch, "claimed:kill", testing="")
    failpoints.reach("claimed")
    assert done == []


@pytest.mark.parametrize(("wish", "passing"), [("claimed:kill", 2), ("claimed:kill:2", 4), ("*:kill:3", 3)])
def test_it_happens_once_at_the_passing_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, wish: str, passing: int
) -> None:
    done = armed(monkeypatch, wish)
    for number in range(1, 9):
        failpoints.reach("claimed" if number % 2 == 0 else "planned")
        assert len(done) == (number >= passing)


@pytest.mark.parametrize("wish", ["nowhere:kill", "claimed:dance", "claimed"])
def test_a_wish_that_is_unclear_is_refused(monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    with pytest.raises(SettingsError, match="CABLEWAY_FAILPOINT"):
        armed(monkeypatch, wish)
