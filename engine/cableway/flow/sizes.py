"""How many bytes a value is likely to hold, and the channel that is bounded by them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any, cast

from cableway.flow.channel import LoopChannel
from cableway.items import WorkItem

# Of a long collection so many members are looked at; the rest is taken to be like them.
SAMPLE = 64


def size_of(value: Any, depth: int = 4) -> int:
    """An estimate in bytes: exact for buffers and tables, from a sample for long collections."""
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    for name in ("nbytes", "memory_usage", "estimated_size"):
        found = getattr(value, name, None)
        if found is not None:
            return _told(found)
    size = sys.getsizeof(value, 64)
    if depth and isinstance(value, Mapping):
        held = cast("Mapping[Any, Any]", value)
        return size + _sampled(held.items(), len(held), depth)
    if depth and isinstance(value, list | tuple | set | frozenset | deque):
        members = cast("Collection[Any]", value)
        return size + _sampled(members, len(members), depth)
    if depth and hasattr(value, "__dict__"):
        return size + size_of(vars(cast("object", value)), depth - 1)
    return size


def _told(found: Any) -> int:
    try:
        told: Any = found() if callable(found) else found
        total: Any = told.sum() if hasattr(told, "sum") else told
        return int(total)
    except Exception:  # a stranger's attribute of the same name
        return 64


def _sampled(members: Iterable[Any], count: int, depth: int) -> int:
    seen = [size_of(member, depth - 1) for member in islice(members, SAMPLE)]
    return sum(seen) * count // len(seen) if seen else 0


class WeighedChannel(LoopChannel):
    """A channel bounded in bytes as well as in items. What is over the bound alone gets in when it is empty."""

    __slots__ = ("_weights", "bytes", "max_bytes")

    def __init__(self, size: int, max_bytes: int, arrived: Callable[[Any], None] | None = None) -> None:
        super().__init__(size, arrived)
        self.max_bytes = max_bytes
        self.bytes = 0
        self._weights: deque[int] = deque()

    def fits(self, item: Any) -> bool:
        """Whether *item* can be placed now."""
        return not self.putters and self._has_room(item)

    def _has_room(self, item: Any) -> bool:
        if not self.items:
            return True
        return len(self.items) < self.size and self.bytes + _weight(item) <= self.max_bytes

    def place(self, item: Any) -> None:
        """Place *item* whatever the room, and call a taker."""
        self._weights.append(_weight(item))
        self.bytes += self._weights[-1]
        super().place(item)

    def take(self) -> Any:
        """Take the first item; there must be one."""
        self.bytes -= self._weights.popleft()
        return super().take()

    def give_back(self, item: Any) -> None:
        """What was held is here again, in front of everything else and whatever the room."""
        self._weights.appendleft(_weight(item))
        self.bytes += self._weights[0]
        super().give_back(item)

    def remove(self, item: Any) -> bool:
        """Take *item* out of the line; False when it is not in it."""
        if item not in self.items:
            return False
        at = self.items.index(item)
        self.bytes -= self._weights[at]
        del self._weights[at]
        return super().remove(item)

    def sweep(self) -> list[Any]:
        """Take everything at once."""
        self._weights.clear()
        self.bytes = 0
        return super().sweep()

    def _watch(self) -> None:
        super()._watch()
        if self.putters:
            self.wake_at = self.size


def _weight(item: Any) -> int:
    held = getattr(item, "item", item)
    return size_of(held.data if isinstance(held, WorkItem) else held)
