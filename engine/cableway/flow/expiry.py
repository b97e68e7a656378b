"""Items that have waited too long before a stage: they fail while they wait, and not only when they are taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cableway.errors import ItemError
from cableway.flow.channel import Hand
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.stage import Stage


class Expiry:
    """Knows since when which item waits before its stage; one timer for the oldest.

    What came before the stage's workers stood waits since then (`open`): how long they took to start is not
    the items' fault.
    """

    def __init__(self, stage: Stage, timeout_s: float) -> None:
        self._stage = stage
        self._timeout_s = timeout_s
        self._timeout_ns = int(timeout_s * 1e9)
        self._since: dict[WorkItem, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False

    def open(self) -> None:
        """The stage's workers stand."""
        self._is_open = True
        self._since = dict.fromkeys(self._since, self._stage.now_ns())
        if self._since:
            self._set_timer(self._timeout_s)

    def came(self, item: WorkItem, at_ns: int) -> None:
        """*item* waits since *at_ns*."""
        self._since[item] = at_ns
        if self._timer is None and self._is_open:
            self._set_timer(self._timeout_s)

    def left(self, item: WorkItem, at_ns: int) -> ItemError | None:
        """*item* waits no more; the error to fail it with when it was too late."""
        if at_ns - self._since.pop(item, at_ns) <= self._timeout_ns:
            return None
        return ItemError("queue_timeout", f"waited longer than {self._timeout_s:g} s before stage {self._stage.name!r}")

    def close(self) -> None:
        """Nothing waits any more."""
        self._since.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._stage.now_ns()
        for item, since in tuple(self._since.items()):
            if now - since <= self._timeout_ns:
                self._set_timer((since + self._timeout_ns - now) / 1e9 + 0.001)
                return
            # What stands behind a line or a batch is told when a worker takes it.
            if self._stage.inbox.remove(item):
                self._fail(item, now)

    def _fail(self, item: WorkItem, now_ns: int) -> None:
        error = self.left(item, now_ns)
        hand = Hand()
        hand.item = item
        self._stage.took(item, now_ns)
        if error is not None:
            self._stage.fail(hand, self._stage.name, error, 0)
