"""
JSON as strangers send it, read so strictly that nothing behind can stumble over it.

Refused besides bad syntax: invalid UTF-8, a byte order mark, the same key twice, numbers that are
not finite or have thousands of digits, lone surrogates, NUL characters (Postgres keeps none of
these) and deep nesting. Messages say what and never repeat a value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import NoReturn, TypeAlias

from cableway_handlers.api.problems import RequestError

MAX_DEPTH = 64

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def parse(body: bytes) -> Json:
    """Return the JSON value that *body* is. Raise `RequestError` (400) for anything doubtful."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"The body is not UTF-8 (byte {error.start}).") from None
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RequestError(f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise RequestError("The body holds a number with too many digits.") from None
    # Depth needs that many brackets, and an odd character needs an escape: most bodies have neither.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if b"\\u" in body or b"\x00" in body:
        _check_text(value)
    return value


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node) if isinstance(child, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _check_text(value: Json) -> None:
    for text in _texts(value):
        if "\x00" in text:
            raise RequestError("The body holds a NUL character.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise RequestError("The body holds half of a surrogate pair.")


def _texts(value: Json) -> Iterator[str]:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
        if isinstance(node, dict):
            yield from node
        waiting.extend(_children(node))


def _children(node: Json) -> list[Json]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise RequestError("The body holds an object with the same key twice.")
    return made


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise RequestError("The body holds a number that is out of range.")
    return number


def _no_constant(name: str) -> NoReturn:
    raise RequestError(f"The body holds {name}, which is not JSON.")


def _too_deep() -> RequestError:
    return RequestError(f"The body is nested deeper than {MAX_DEPTH} levels.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_constant)
