"""Checks of single configuration values; each says which field of what is wrong, and how."""

from __future__ import annotations

import math
from typing import Any


def whole(owner: str, field: str, value: Any, *, least: int = 1) -> int:
    """Raise `TypeError` unless *value* is an int (a bool is none), `ValueError` below *least*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}: {field} must be a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{owner}: {field} must be at least {least}, not {value}")
    return value


def number(owner: str, field: str, value: Any, *, positive: bool = False) -> float:
    """Raise `TypeError` unless *value* is a number, `ValueError` when it is negative, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{owner}: {field} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{owner}: {field} must be {'above' if positive else 'at least'} 0 and finite, not {value}")
    return value


def flag(owner: str, field: str, value: Any) -> bool:
    """Raise `TypeError` unless *value* is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{owner}: {field} must be True or False, not {type(value).__name__}")
    return value


def choice(owner: str, field: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Raise `ValueError` unless *value* is one of *allowed*."""
    if value not in allowed:
        raise ValueError(f"{owner}: {field} must be one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def text(owner: str, field: str, value: Any) -> str:
    """Raise `TypeError` unless *value* is a string, `ValueError` when it is empty."""
    if not isinstance(value, str):
        raise TypeError(f"{owner}: {field} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{owner}: {field} must not be empty")
    return value
