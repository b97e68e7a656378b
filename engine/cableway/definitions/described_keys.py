"""The keys of a bloc's config as people read them: each on a line of its own, those inside an object as well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class ConfigKey:
    """One key: ``auth.type`` stands in ``auth``, and ``where[].column`` in each member of ``where``."""

    name: str
    kind: str
    """Its types in words; values that are meant as they stand are between backticks."""
    default: str
    """As JSON, ``required``, or empty where there is none to speak of."""
    words: str


def described_keys(schema: Mapping[str, Any]) -> Iterator[ConfigKey]:
    """The keys that the JSON *schema* of a config describes."""
    parts: Mapping[str, Any] = schema.get("$defs", {})
    part = _part_of(schema)
    yield from _keys(schema if part is None else parts[part], parts, "", ())


def _keys(
    schema: Mapping[str, Any], parts: Mapping[str, Any], prefix: str, around: tuple[str, ...]
) -> Iterator[ConfigKey]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield _key(prefix + name, field, required=name in required)
        part, inner = _part_of(field), f"{prefix}{name}."
        if part is None:
            part, inner = _part_of(_members_of(field)), f"{prefix}{name}[]."
        if part is not None and part not in around:  # a part may hold itself
            yield from _keys(parts[part], parts, inner, (*around, part))


def _key(name: str, field: Mapping[str, Any], *, required: bool) -> ConfigKey:
    default = "required" if required else json.dumps(field["default"]) if "default" in field else ""
    if _part_of(field) is not None and default.startswith("{"):
        default = ""  # the lines below it have it, key by key
    words = " ".join(field.get("description", "").replace("``", "`").split())
    return ConfigKey(name, " or ".join(dict.fromkeys(_types_of(field))), default, words)


def _part_of(field: Mapping[str, Any]) -> str | None:
    """The part of the config that stands under a key, by name; None for a plain value."""
    references = (one.get("$ref") for one in (field, *field.get("anyOf", ())))
    return next((reference.rpartition("/")[2] for reference in references if reference), None)


def _members_of(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a list under a key holds; empty where there is no list."""
    found: Iterator[Any] = (one.get("items") for one in (field, *field.get("anyOf", ())) if one.get("type") == "array")
    members = next(found, None)
    return cast("Mapping[str, Any]", members) if isinstance(members, Mapping) else {}


def _types_of(field: Mapping[str, Any]) -> Iterator[str]:
    if "anyOf" in field:
        for part in field["anyOf"]:
            yield from _types_of(part)
    elif "$ref" in field:
        yield "object"
    elif "enum" in field:
        yield ", ".join(f"`{value}`" for value in field["enum"])
    elif "const" in field:
        yield f"`{field['const']}`"
    elif field.get("type") == "array":
        yield f"list of {' or '.join(_types_of(field.get('items', {})))}"
    elif field.get("type") == "object":
        members: Any = field.get("additionalProperties", {})
        yield f"mapping to {'any' if isinstance(members, bool) else ' or '.join(_types_of(members))}"
    else:
        yield str(field.get("type", "any"))
