"""
Which items get spans: a share of them, drawn from the item itself, so that asking twice gives one answer.

Nothing is stored for an item that is not drawn, and asking costs one multiplication.
"""

from __future__ import annotations

SPACE = 1 << 32
_MASK = SPACE - 1
# An odd number near the golden ratio's share of 2**32: neighbouring times land far from each other.
_SPREAD = 0x9E3779B1


def number_of(created_ns: int) -> int:
    """An item's lot, evenly spread over `SPACE`, from the nanosecond at which it was made."""
    return created_ns * _SPREAD & _MASK


def threshold_of(ratio: float) -> int:
    """Items whose lot is below this are drawn; 0 draws none, `SPACE` draws all."""
    return round(min(1.0, max(0.0, ratio)) * SPACE)
