"""The page on bloc types, from what each type says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cableway.catalog import BUILT_IN, Catalog

OPENING = """\
# Blocs

<!-- Written by `make docs` from engine/cableway/blocs/; change it there. -->

The bloc types that ship with Cableway. A pipeline names them as `bloc_type`; `config` is what the tables
list, and a key that is not listed is refused. Types of your own join by the environment variable
`CABLEWAY_BLOCS` (modules, by comma) or by an entry point of the group `cableway.blocs`.
"""


def page() -> str:
    """The whole page, as Markdown."""
    catalog = Catalog()
    types = [catalog.describe(name) for name in sorted(BUILT_IN)]
    index = "\n| type | kind | what it does |\n|---|---|---|\n" + "".join(
        f"| [`{one['name']}`](#{one['name']}) | {one['kind']} | {one['summary']} |\n" for one in types
    )
    return OPENING + index + "".join(section(one) for one in types)


def section(one: Mapping[str, Any]) -> str:
    """One type: its lanes, its config key by key, and an example."""
    config = one["config"]
    table = "".join(rows(config, config.get("$defs", {})))
    example = json.dumps(one["example"], indent=2)
    return (
        f"\n## {one['name']}\n\n{one['summary']} Lanes: {', '.join(one['lanes'])}.\n\n"
        f"| key | type | default | what it is |\n|---|---|---|---|\n{table}\n```json\n{example}\n```\n"
    )


def rows(schema: Mapping[str, Any], parts: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of an object as lines of the table, and below a key that is an object its own keys."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield row(prefix + name, field, required=name in required)
        part = part_of(field)
        if part is not None:
            yield from rows(parts[part], parts, f"{prefix}{name}.")


def row(name: str, field: Mapping[str, Any], *, required: bool) -> str:
    """One key as a line of the table."""
    default = "required" if required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
    if part_of(field) is not None and default.startswith("`{"):
        default = ""  # the lines below it have it, key by key
    words = " ".join(field.get("description", "").replace("``", "`").split())
    return f"| `{name}` | {' or '.join(dict.fromkeys(types_of(field)))} | {default} | {words} |\n"


def part_of(field: Mapping[str, Any]) -> str | None:
    """The part of the config that stands under a key, by name; None for a plain value."""
    references = (one.get("$ref") for one in (field, *field.get("anyOf", ())))
    return next((reference.rpartition("/")[2] for reference in references if reference), None)


def types_of(field: Mapping[str, Any]) -> Iterator[str]:
    """A JSON Schema's types in words."""
    if "anyOf" in field:
        for part in field["anyOf"]:
            yield from types_of(part)
    elif "$ref" in field:
        yield "object"
    elif "enum" in field:
        yield ", ".join(f"`{value}`" for value in field["enum"])
    elif "const" in field:
        yield f"`{field['const']}`"
    elif field.get("type") == "array":
        yield f"list of {' or '.join(types_of(field.get('items', {})))}"
    elif field.get("type") == "object":
        members: Any = field.get("additionalProperties", {})
        yield f"mapping to {'any' if isinstance(members, bool) else ' or '.join(types_of(members))}"
    else:
        yield str(field.get("type", "any"))
