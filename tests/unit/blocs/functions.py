"""Functions of a user's own, for the bloc ``python``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cableway.context import RunContext


def doubled(frame: Any, *, column: str = "v", context: RunContext | None = None) -> Any:
    frame[column] = frame[column] * 2
    if context is not None:
        frame["item"] = context.item_id
    return frame


async def later(value: Any, more: int) -> Any:
    return value + more


def several(value: Any) -> Iterator[Any]:
    yield from (value, value)


def joined(one: Any, other: Any) -> Any:
    return [*one, *other]


NOT_CALLABLE = 5
