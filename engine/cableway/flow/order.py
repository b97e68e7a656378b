"""Items leave an ordered stage in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cableway.flow.channel import Hand
from cableway.flow.visit import Refusal, Visit
from cableway.items import WorkItem

if TYPE_CHECKING:
    from cableway.flow.stage import Stage

Settle = Callable[[Visit, Hand, Refusal | None], Awaitable[None]]


class Line:
    """Numbers the items on their way in and lets them out by number.

    At most *limit* are between the two, so what waits for a slow one in front is bounded; and nobody who
    works ever waits for the line, so the slow one always finds a worker for its next attempt.
    """

    def __init__(self, stage: Stage, limit: int) -> None:
        self._stage = stage
        self._limit = limit
        self._next_in = 0
        self._next_out = 0
        self._waiting: dict[int, tuple[Visit, Refusal | None]] = {}
        self._letting_out = False
        self._room: asyncio.Future[None] | None = None

    async def run(self, hand: Hand) -> None:
        """Take items from the stage's inbox, number them, and queue them for the workers."""
        inbox = self._stage.inbox
        while await inbox.wait():
            hand.item = inbox.take()
            await self.enter(hand)
        self._stage.queue.close()

    async def enter(self, hand: Hand) -> None:
        """Number what *hand* holds and queue it, once there are few enough in the line."""
        while self._next_in - self._next_out >= self._limit:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._stage.queue.closed:
            self._stage.cancel(hand)
            return
        visit = Visit(hand.item, self._next_in)
        self._next_in += 1
        hand.item = None
        self._stage.queue.place(visit)

    async def leave(self, visit: Visit, refusal: Refusal | None, hand: Hand, settle: Settle) -> None:
        """The visit is done: let it out when its turn has come, and all behind it that are done too."""
        self._waiting[visit.number] = visit, refusal
        if self._letting_out:
            return
        self._letting_out = True
        try:
            while self._next_out in self._waiting:
                done, refused = self._waiting.pop(self._next_out)
                hand.item = done.item
                await settle(done, hand, refused)
                self._next_out += 1
                self._make_room()
        finally:
            self._letting_out = False

    def sweep(self) -> list[WorkItem]:
        """Take out what waits for its turn, for the run is being cancelled."""
        items = [visit.item for visit, _ in self._waiting.values()]
        self._waiting.clear()
        return items

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
