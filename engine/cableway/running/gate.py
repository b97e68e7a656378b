"""Where items come into the flow: named after their positions, unless there is nothing left to do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cableway import failpoints
from cableway.errors import ItemError, SourceError

if TYPE_CHECKING:
    from cableway.items import WorkItem
    from cableway.running.recovery import Recovered


FAILED_BEFORE: Final = "failed_before"
"""The code of a unit that is refused because it has a dead letter."""


class Gate:
    """Between what earlier attempts have left and the blocs of this one. Open and without a word until it is told."""

    def __init__(self) -> None:
        self.closed = False
        """Nothing is left to be loaded."""
        self.prefix = ""
        """What the ids of source items begin with."""
        self.exact = False
        """Items are known again by their ids."""
        self.recovered: Recovered | None = None
        self.passed_over = 0
        """Source items that were finished already."""
        self.passed_before: dict[str, int] = {}
        """How many of them came just before an item that came in, by its id, until `CursorKeeper` has taken note."""
        self._in_a_row = 0

    def item_id(self, position: str) -> str | None:
        """The id of the item at *position*; None: it does not come in. Raise `SourceError` where it can be none."""
        failpoints.reach("item_read")
        if self.exact and "." in position:
            raise SourceError(f"the position {position[:40]!r} holds a dot, which parts an item from what comes of it")
        item_id = self.prefix + position
        if self.recovered is not None and self.recovered.finished(item_id):
            self.passed_over += 1
            self._in_a_row += 1
            return None
        if self._in_a_row:
            self.passed_before[item_id] = self._in_a_row
            self._in_a_row = 0
        return item_id

    def refuse_known(self, stage: str, bloc: str, item: WorkItem) -> None:
        """Raise `ItemError` for a unit that failed in an earlier attempt: only a replay works on it again."""
        if self.recovered is not None and (stage, bloc, item.job_id) in self.recovered.dead:
            raise ItemError(FAILED_BEFORE, "it failed in an earlier attempt; its dead letter has the error")
