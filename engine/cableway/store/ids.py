"""Ids of runs and lines."""

from __future__ import annotations

import os
import time

_HEX = frozenset("0123456789abcdefABCDEF")


def new_id() -> str:
    """An id that no one else makes: a UUID of version 7, so that later ones sort after earlier ones."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_id(text: str) -> bool:
    """Whether *text* can be an id: it need not be one that exists."""
    parts = [len(part) for part in text.split("-")]
    return parts in ([8, 4, 4, 4, 12], [32]) and _HEX.issuperset(text.replace("-", ""))
