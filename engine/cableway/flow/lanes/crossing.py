"""The channel for takers and givers on both sides of a thread's border. It alone loads culsans."""

from __future__ import annotations

from typing import Any

import culsans

from cableway.flow.channel import ChannelEndedError


class ThreadChannel:
    """A queue whose synchronous side threads use and whose asynchronous side the loop; 0 is without bound."""

    def __init__(self, size: int) -> None:
        self._queue: culsans.Queue[Any] = culsans.Queue(size)
        self._sync = self._queue.sync_q
        self._async = self._queue.async_q

    def __len__(self) -> int:
        return self._queue.qsize()

    async def put(self, item: Any) -> None:
        """From the loop: wait for room, then place *item*. Raise `ChannelEndedError` when closed."""
        try:
            await self._async.put(item)
        except culsans.QueueShutDown:
            raise ChannelEndedError from None

    async def get(self) -> Any:
        """From the loop: wait for an item and take it. Raise `ChannelEndedError` when closed and empty."""
        try:
            return await self._async.get()
        except culsans.QueueShutDown:
            raise ChannelEndedError from None

    def put_sync(self, item: Any) -> None:
        """From a thread: wait for room, then place *item*. Raise `ChannelEndedError` when closed."""
        try:
            self._sync.put(item)
        except culsans.QueueShutDown:
            raise ChannelEndedError from None

    def get_sync(self) -> Any:
        """From a thread: wait for an item and take it. Raise `ChannelEndedError` when closed and empty."""
        try:
            return self._sync.get()
        except culsans.QueueShutDown:
            raise ChannelEndedError from None

    def put_nowait(self, item: Any) -> bool:
        """Place *item* from either side where no bound forbids it; False when the channel is closed."""
        try:
            self._queue.put_nowait(item)
        except culsans.QueueShutDown:
            return False
        return True

    def close(self) -> None:
        """Let what is inside be taken, and nothing more come."""
        self._queue.shutdown()
