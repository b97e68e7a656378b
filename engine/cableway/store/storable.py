"""Text and JSON as Postgres takes them, made out of whatever an error or a payload holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

MAX_DEPTH = 64
"""Levels of nesting that are kept; what lies deeper becomes text."""
MAX_INTEGER_BITS = 8192
"""Integers beyond this are described: Python itself refuses to write long ones out."""


def storable_text(text: str) -> str:
    """*text* without what a text column refuses: NUL characters and halves of surrogate pairs."""
    if text.isascii() and "\x00" not in text:
        return text  # as most are
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def storable_json(value: Any) -> str:
    """*value* as JSON that jsonb takes; what JSON has no form for becomes text. Never raises for a value."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_plain(value, ()))
    # A whole pair is looked at twice here and comes out as it was.
    if "\\u0000" in text or "\\ud" in text:
        return json.dumps(_plain(value, ()), ensure_ascii=False)
    return text


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= MAX_INTEGER_BITS else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if len(around) >= MAX_DEPTH or id(cast("object", value)) in around:
            return "..."
        return _plain_members(cast("Mapping[Any, Any] | Iterable[Any]", value), (*around, id(cast("object", value))))
    return _described(value)


def _plain_members(value: Mapping[Any, Any] | Iterable[Any], around: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value)
        return {_described(key): _plain(member, around) for key, member in pairs.items()}
    return [_plain(member, around) for member in value]


def _described(value: Any) -> str:
    try:
        return storable_text(str(value))
    except Exception:  # noqa: BLE001 - the value's own __str__ may raise anything
        return f"<{type(value).__name__}>"
