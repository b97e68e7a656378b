"""Callers that hold a connection and come to no request: cut off, however steadily they send one byte after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

HEAD_S = 15.0
"""Seconds within which a request must have begun: its head is there. uvicorn itself would wait for ever."""
LOOK_EVERY_TICKS = 10
"""uvicorn's ticks, ten a second, between two looks."""


class Laggards:
    """Looks through *connections*, uvicorn's own, whenever it is told to. Costs a request nothing.

    A body that comes slowly is its reader's business, and a connection that is idle after an answer uvicorn's.
    """

    def __init__(
        self,
        connections: Callable[[], Collection[Any]],
        *,
        head_s: float = HEAD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._head_s = head_s
        self._clock = clock
        self._waiting: dict[Any, tuple[Any, float]] = {}

    def look(self) -> int:
        """Cut off who has been at the same head for too long; how many."""
        now, late = self._clock(), 0
        waiting: dict[Any, tuple[Any, float]] = {}
        for connection in tuple(self._connections()):
            last = connection.cycle
            if last is not None and not last.response_complete:
                continue
            seen, since = self._waiting.get(connection, (last, now))
            since = since if seen is last else now  # it has asked something since
            if now - since < self._head_s:
                waiting[connection] = (last, since)
            else:
                connection.transport.abort()
                late += 1
        self._waiting = waiting
        return late
