"""
Requests written with places for values: ``https://api.example.com/users/{user_id}``.

A value takes its place as what it is, never as more: in a URL it is escaped, so it cannot add a parameter or leave its
part of the path; in JSON it stays a value; in a header it cannot end the line. ``{{`` and ``}}`` are braces.
What a value holds is not looked at for places again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote

from cableway.blocs.http.paths import MISSING, JsonPath, path_fault
from cableway.context import MissingDataError
from cableway.errors import RowError

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_HOST = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def template_fault(text: str) -> str | None:
    """What is wrong with a template, where something is."""
    for match in _PART.finditer(text):
        if match[1] is not None and (reason := path_fault(match[1])):
            return f"{{{match[1]}}} {reason}"
        if match[0] in {"{", "}"}:
            return "has a brace without its other; a brace of the text is written twice"
    return None


def url_template_fault(url: str) -> str | None:
    """The same for a URL, whose host is always the pipeline's own."""
    host = _HOST.match(url)
    if host is None or _PART.search(host[0]):
        return "must name scheme and host itself: values take their places after them"
    return template_fault(url)


def templates_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in cast("Mapping[str, Any]", value).values():
            yield from templates_in(member)
    elif isinstance(value, list):
        for member in cast("list[Any]", value):
            yield from templates_in(member)


def filled_url(url: str, row: Mapping[str, Any], where: str) -> str:
    """*url* with the values of *row*, escaped.

    Raise `RowError` for one that is missing or empty, or that would lead out of its part of the path.
    """

    def escaped(name: str) -> str:
        text = _text(_value(row, name, where))
        if text in {"", ".", ".."}:
            raise RowError("is empty or a path of its own, and stands in a URL", where=where, column=name)
        return quote(text, safe="", errors="surrogatepass")

    filled = _filled(url, escaped)
    # Dots beside a place (a value after ".") make a step out of the path as well.
    if any(part in {".", ".."} for part in filled.partition("?")[0].split("/")[3:]):
        raise RowError("the URL would lead out of its path", where=where)
    return filled


def filled_header(text: str, row: Mapping[str, Any], where: str) -> str:
    """A header's *text* with the values of *row*. Raise `RowError` for one that is missing or ends the line."""
    filled = _filled(text, lambda name: _text(_value(row, name, where)))
    if any(char in filled for char in "\r\n\x00"):
        raise RowError("a value that stands in a header holds the end of a line", where=where)
    return filled


def filled_text(text: str, row: Mapping[str, Any], where: str) -> str:
    """*text* with the values of *row*. Raise `RowError` for one that is missing."""
    return _filled(text, lambda name: _text(_value(row, name, where)))


def filled_json(value: Any, row: Mapping[str, Any], where: str) -> Any:
    """A JSON value with the values of *row*; a text that is one place takes the value's own type."""
    match value:
        case str():
            whole = re.fullmatch(r"\{([^{}]+)\}", value)
            return _value(row, whole[1], where) if whole else filled_text(value, row, where)
        case Mapping():
            members = cast("Mapping[str, Any]", value).items()
            return {key: filled_json(member, row, where) for key, member in members}
        case list():
            return [filled_json(member, row, where) for member in cast("list[Any]", value)]
        case _:
            return value


def _filled(text: str, put: Callable[[str], str]) -> str:
    def part(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else put(match[1])

    return _PART.sub(part, text)


def _value(row: Mapping[str, Any], name: str, where: str) -> Any:
    value = row[name] if name in row else JsonPath(name).one(row)
    if value is MISSING:
        raise MissingDataError(f"{where} wants {name!r}, and its input has: {', '.join(map(repr, row)) or 'nothing'}")
    return value


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return value.isoformat() if hasattr(value, "isoformat") else str(value)
