"""An item's stay in a stage: what has been tried, and what its blocs have given so far."""

from __future__ import annotations

from typing import Any

from cableway.flow.lanes.protocol import UnitResult
from cableway.items import WorkItem


class Visit:
    """Kept while an item waits for its next attempt, so that finished blocs need not work again."""

    __slots__ = ("attempts", "due", "item", "number", "results", "started", "views")

    def __init__(self, item: WorkItem, number: int = 0, views: dict[str, WorkItem] | None = None) -> None:
        self.item = item
        self.number = number
        """Its place in line, in an ordered stage."""
        self.attempts: dict[str, int] = {}
        self.due: dict[str, float] = {}
        """When a bloc that failed is tried again, by the loop's clock."""
        self.results: dict[str, UnitResult] = {}
        self.started = False
        self.views = views
        """What each bloc sees instead of the item, in a gathering stage."""

    def seen_by(self, bloc: str) -> WorkItem:
        """The item as this bloc sees it."""
        return self.item if self.views is None else self.views[bloc]

    def values(self) -> dict[str, Any]:
        """What the blocs gave; one that gave None has said nothing."""
        return {name: result.value for name, result in self.results.items() if result.value is not None}


class Refusal(Exception):  # noqa: N818 - an outcome of a visit, not an error of ours
    """A bloc failed for good: which, why, and after how many attempts."""

    def __init__(self, bloc: str, error: BaseException, attempts: int) -> None:
        super().__init__(bloc)
        self.bloc = bloc
        self.error = error
        self.attempts = attempts
