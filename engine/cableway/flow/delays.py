"""Items that wait for their next attempt, off the workers."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from cableway.flow.channel import LoopChannel
from cableway.flow.visit import Visit


class Delays:
    """At most *limit* visits of a stage, given back to its queue when they are due; one timer for all."""

    def __init__(self, queue: LoopChannel, limit: int) -> None:
        self._queue = queue
        self._limit = limit
        self._heap: list[tuple[float, int, Visit]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def full(self) -> bool:
        """Whether no more can wait here; the worker must then wait itself."""
        return len(self._heap) >= self._limit

    def park(self, visit: Visit, due: float) -> None:
        """Give *visit* back to the queue at *due*, by the loop's clock."""
        self._queue.hold()
        heapq.heappush(self._heap, (due, next(self._order), visit))
        self._set_timer()

    def sweep(self) -> list[Visit]:
        """Take out everything that waits, for it will not be tried again."""
        visits = [visit for _, _, visit in self._heap]
        self._heap.clear()
        self._set_timer()
        for _ in visits:
            self._queue.let_go()
        return visits

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer = asyncio.get_running_loop().call_at(self._heap[0][0], self._give_back)

    def _give_back(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now + 0.001:
            self._queue.give_back(heapq.heappop(self._heap)[2])
        self._set_timer()
