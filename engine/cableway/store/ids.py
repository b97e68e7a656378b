"""Ids of runs and lines."""

from __future__ import annotations

import os
import time

_HEX = frozenset("0123456789abcdefABCDEF")
_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def new_id() -> str:
    """An id that no one else makes: a UUID of version 7, so that later ones sort after earlier ones."""
    time_ms = f"{time.time_ns() // 1_000_000:012x}"
    chance = os.urandom(10).hex()
    return f"{time_ms[:8]}-{time_ms[8:]}-7{chance[:3]}-{_VARIANT[chance[3]]}{chance[4:7]}-{chance[7:19]}"


def is_id(text: str) -> bool:
    """Whether *text* can be an id: it need not be one that exists."""
    parts = [len(part) for part in text.split("-")]
    return parts in ([8, 4, 4, 4, 12], [32]) and _HEX.issuperset(text.replace("-", ""))
