"""JSON pointers: where in a document something stands."""

from __future__ import annotations

from collections.abc import Collection


def escaped(part: int | str) -> str:
    """*part* as it is written in a pointer."""
    return str(part).replace("~", "~0").replace("/", "~1")


def parts_of(pointer: str) -> list[str]:
    """The keys and indexes that *pointer* goes through."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def is_within(pointer: str, places: Collection[str]) -> bool:
    """Whether *pointer* is one of *places*, which is quick to search, or lies below one."""
    while pointer not in places:
        if not pointer:
            return False
        pointer = pointer.rpartition("/")[0]
    return True
