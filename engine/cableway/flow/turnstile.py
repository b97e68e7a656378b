"""What a stage's units must pass before they begin, and who is told when they are through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Turnstile(Protocol):
    """Lets only so many units at a time, or a second, pass; it may be shared by stages. Used on the loop alone."""

    async def enter(self) -> None:
        """Return when a unit may begin. Cancelled, nothing is taken."""
        ...

    def leave(self) -> None:
        """The unit has given its result, or failed."""
        ...


async def enter_all(turnstiles: Sequence[Turnstile]) -> None:
    """Return when all let a unit pass; cancelled, or where one raises, those that did are told."""
    passed: list[Turnstile] = []
    try:
        for turnstile in turnstiles:
            await turnstile.enter()
            passed.append(turnstile)
    finally:
        if len(passed) < len(turnstiles):
            leave_all(passed)


def leave_all(turnstiles: Sequence[Turnstile]) -> None:
    """The unit is through all of them."""
    for turnstile in turnstiles:
        turnstile.leave()
