"""How long the workers of a run may keep the event loop before others get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Together the workers hold the loop for about so long; each then finishes the item at hand.
TURN_NS = 2_000_000


class Turn:
    """One pass of the event loop through everything that is ready, as all workers of a run share it.

    ``until_ns`` is when it should be over. A worker that still has something to do then awaits `over`.
    """

    __slots__ = ("_called", "_now_ns", "until_ns")

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._called = False
        self.until_ns = now_ns() + TURN_NS

    async def over(self) -> None:
        """Let others run; the next turn begins with whoever of us comes first."""
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._begin)
        await asyncio.sleep(0)

    def _begin(self) -> None:
        self._called = False
        self.until_ns = self._now_ns() + TURN_NS
