"""
The queue between two stages: what every kind of it promises, and the one for a single event loop.

The flow's own workers touch ``items`` directly while there is something to take and room to give, and
call a method only to wait or to wake somebody. So a queue that is backed up is worked through in long
runs without a single suspension, and one that is not is passed item by item.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

NOBODY_WAITS = -1

# A full queue calls those that wait for room only when this many places are free, so that they work in runs.
RUN = 256


class ChannelEndedError(Exception):
    """The channel was closed and everything in it has been taken."""


class Hand:
    """What somebody holds and has not placed yet; None when a channel or the ledger has it.

    ``since_ns`` is when a lean worker took it, whose sums do not have it yet; else 0.
    """

    __slots__ = ("item", "since_ns")

    def __init__(self) -> None:
        self.item: Any = None
        self.since_ns = 0


class Channel(Protocol):
    """A bounded queue that can be closed. `ChannelEndedError` means closed and empty."""

    def __len__(self) -> int: ...

    async def put(self, item: Any) -> None:
        """Wait for room, then place *item*. Raise `ChannelEndedError` when the channel is closed."""
        ...

    async def get(self) -> Any:
        """Wait for an item and take it; the order is that of the puts."""
        ...

    def close(self) -> None:
        """Let what is inside be taken, and nothing more come."""
        ...


class LoopChannel:
    """A channel for takers and givers on one event loop.

    ``wake_at`` is the length at or below which `relieve` must be called after taking, or `NOBODY_WAITS`.
    ``waking`` says that a taker has been called and has not run yet: one is enough, for it calls the next.
    ``held`` counts items that are elsewhere and will come back (`hold`, `give_back`).
    """

    __slots__ = (
        "_call",
        "_low",
        "_room",
        "_room_at",
        "arrived",
        "closed",
        "getters",
        "held",
        "items",
        "putters",
        "size",
        "wake_at",
        "waking",
    )

    def __init__(self, size: int, arrived: Callable[[Any], None] | None = None) -> None:
        self.size = size
        self.items: deque[Any] = deque()
        self.getters: deque[asyncio.Future[None]] = deque()
        self.putters: deque[tuple[Hand, asyncio.Future[None]]] = deque()
        self.waking = False
        self.wake_at = NOBODY_WAITS
        self.closed = False
        self.held = 0
        self.arrived = arrived
        self._low = size - max(1, min(size // 2, RUN))
        self._room: asyncio.Future[None] | None = None
        self._room_at = size // 2
        self._call = asyncio.get_running_loop().create_future

    def __len__(self) -> int:
        return len(self.items)

    def fits(self, item: Any) -> bool:
        """Whether *item* can be placed now."""
        return len(self.items) < self.size and not self.putters

    def place(self, item: Any) -> None:
        """Place *item* whatever the room, and call a taker."""
        self.items.append(item)
        if self.getters and not self.waking:
            self.wake()

    def take(self) -> Any:
        """Take the first item; there must be one."""
        item = self.items.popleft()
        self.taken()
        return item

    def taken(self) -> None:
        """Something was taken: give room to those that wait for it, and call the next taker."""
        if len(self.items) <= self.wake_at:
            self.relieve()
        if self.getters and self.items and not self.waking:
            self.wake()

    async def put(self, item: Any) -> None:
        """Wait for room, then place *item*."""
        hand = Hand()
        hand.item = item
        await self.put_from(hand)

    async def put_from(self, hand: Hand) -> None:
        """Place what *hand* holds as soon as there is room; the hand is empty once it is placed.

        Cancelled, the hand tells whether the item was placed before.
        """
        if self.closed:
            raise ChannelEndedError
        if self.fits(hand.item):
            self._admit(hand)
            return
        placed = self._call()
        entry = (hand, placed)
        self.putters.append(entry)
        self._watch()
        try:
            await placed
        except asyncio.CancelledError:
            if entry in self.putters:
                self.putters.remove(entry)
                self._watch()
            raise
        if hand.item is not None:
            raise ChannelEndedError

    async def get(self) -> Any:
        """Wait for an item and take it."""
        if not await self.wait():
            raise ChannelEndedError
        return self.take()

    async def wait(self) -> bool:
        """Wait until there is something to take; False when there never will be."""
        while not self.items:
            if self.closed and not self.held:
                self._call_all()  # those that waited for what was held have not heard of the end
                return False
            called = self._call()
            self.getters.append(called)
            try:
                await called
            except asyncio.CancelledError:
                self._pass_on(called)
                raise
            self.waking = False
        return True

    def wake(self) -> None:
        """Call one taker. Each taker calls the next while something is left."""
        while self.getters:
            called = self.getters.popleft()
            if not called.done():  # else its worker was cancelled and has not run yet
                self.waking = True
                called.set_result(None)
                return

    def relieve(self) -> None:
        """There is room: place what others hold, and tell the source."""
        while self.putters and self._has_room(self.putters[0][0].item):
            hand, placed = self.putters.popleft()
            if placed.done():
                continue
            self._admit(hand)
            placed.set_result(None)
        if self._room is not None and len(self.items) <= self._room_at and not self._room.done():
            self._room.set_result(None)
        self._watch()

    async def room(self, longest_wait_s: float) -> int:
        """Wait until the channel is half empty, or *longest_wait_s* has passed and there is room at all.

        Return how many items fit, 0 when the channel is closed.
        """
        self._room_at = self.size // 2 if longest_wait_s > 0 else self.size - 1
        while not self.closed:
            if len(self.items) <= self._room_at:
                return self.size - len(self.items)
            await self._wait_for_room(longest_wait_s)
        return 0

    async def _wait_for_room(self, longest_wait_s: float) -> None:
        self._room = room = self._call()
        self._watch()
        timer = room.get_loop().call_later(longest_wait_s, self._take_any_room) if longest_wait_s > 0 else None
        try:
            await room
        finally:
            self._room = None
            self._watch()
            if timer is not None:
                timer.cancel()

    def _take_any_room(self) -> None:
        self._room_at = self.size - 1
        if len(self.items) < self.size:
            self._set_room()
        else:
            self._watch()

    def hold(self) -> None:
        """Something taken will come back: the channel does not end before."""
        self.held += 1

    def give_back(self, item: Any) -> None:
        """What was held is here again, in front of everything else and whatever the room."""
        self.held -= 1
        self.items.appendleft(item)
        if self.getters and not self.waking:
            self.wake()

    def let_go(self) -> None:
        """What was held will not come back after all."""
        self.held -= 1
        if self.closed and not self.held:
            self._call_all()

    def close(self) -> None:
        """Let what is inside be taken, and nothing more come. Those that wait for room keep what they hold."""
        self.closed = True
        while self.putters:
            _, placed = self.putters.popleft()
            if not placed.done():
                placed.set_result(None)
        self._set_room()
        self._call_all()

    def remove(self, item: Any) -> bool:
        """Take *item* out of the line; False when it is not in it."""
        if item not in self.items:
            return False
        self.items.remove(item)
        self.taken()
        return True

    def sweep(self) -> list[Any]:
        """Take everything at once."""
        items = list(self.items)
        self.items.clear()
        return items

    def _admit(self, hand: Hand) -> None:
        item, hand.item = hand.item, None
        if self.arrived is not None:
            self.arrived(item)
        self.place(item)

    def _has_room(self, item: Any) -> bool:
        return len(self.items) < self.size

    def _watch(self) -> None:
        marks = [self._low] if self.putters else []
        if self._room is not None and not self._room.done():
            marks.append(self._room_at)
        self.wake_at = max(marks, default=NOBODY_WAITS)

    def _set_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _pass_on(self, called: asyncio.Future[None]) -> None:
        if called in self.getters:
            self.getters.remove(called)
            return
        if called.cancelled():
            return
        self.waking = False
        if self.items and self.getters:
            self.wake()

    def _call_all(self) -> None:
        while self.getters:
            called = self.getters.popleft()
            if not called.done():
                called.set_result(None)
