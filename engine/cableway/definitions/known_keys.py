"""Which keys a JSON Schema knows at a place, and which of them a misspelt one may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from cableway.definitions.nearness import Nearness

UNKNOWN = "is not known here"
_LOOKED_AT = 50
"""Parts of a schema that are looked at for one place: unions may name each other without end."""


def unknown_key(schema: Mapping[str, Any], parts: Sequence[str]) -> str:
    """What to say of the key that *parts* lead to, the last of which *schema* does not know."""
    return said_of_unknown(parts[-1], _known_at(schema, parts[:-1]))


def said_of_unknown(name: str, known: Iterable[str]) -> str:
    """What to say of the key *name* where only *known* ones may stand."""
    return _said(name[:100], tuple(sorted(known)))


# A document can hold ten thousand such keys, and comparing names is slow.
@lru_cache(maxsize=1024)
def _said(name: str, known: tuple[str, ...]) -> str:
    advice = Nearness().advice(name, known, otherwise="")
    return f"{UNKNOWN}; {advice}" if advice else UNKNOWN


def _known_at(schema: Mapping[str, Any], parts: Sequence[str]) -> set[str]:
    places = list(_forms(schema, schema))
    for part in parts:
        inner = [child for place in places for child in _children(place, part)]
        places = [form for child in inner for form in _forms(schema, child)][:_LOOKED_AT]
    return {name for place in places for name in place.get("properties", ())}


def _forms(schema: Mapping[str, Any], part: Any) -> Iterator[Mapping[str, Any]]:
    """*part* and all that it may stand for: what it refers to, and the members of a union."""
    waiting, met = [part], set[int]()
    while waiting and len(met) < _LOOKED_AT:
        one = waiting.pop()
        if not isinstance(one, Mapping) or id(cast("object", one)) in met:
            continue
        met.add(id(cast("object", one)))
        form = cast("Mapping[str, Any]", one)
        yield form
        if "$ref" in form:
            waiting.append(schema.get("$defs", {}).get(form["$ref"].rpartition("/")[2]))
        for kind in ("anyOf", "oneOf", "allOf"):
            waiting.extend(form.get(kind, ()))


def _children(place: Mapping[str, Any], part: str) -> Iterator[Any]:
    """What *place* says of its member *part*."""
    if part in place.get("properties", {}):
        yield place["properties"][part]
    elif "additionalProperties" in place:
        yield place["additionalProperties"]
    if part.isdecimal():
        yield place.get("items")
