"""The page on bloc types, from what each type says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cableway.catalog import BUILT_IN, Catalog
from cableway.definitions.described_keys import ConfigKey, described_keys

OPENING = """\
# Blocs

<!-- Written by `make docs` from engine/cableway/blocs/; change it there. -->

The bloc types that ship with Cableway. A pipeline names them as `bloc_type`; `config` is what the tables
list, and a key that is not listed is refused: `auth.type` is a key of what stands under `auth`, `where[].column`
one of each member of the list `where`. `cableway blocs show TYPE` prints the same, of your own types as well, which
join by the environment variable `CABLEWAY_BLOCS` (modules, by comma) or by an entry point of the group
`cableway.blocs`.
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
    table = "".join(map(row, described_keys(one["config"])))
    example = json.dumps(one["example"], indent=2)
    return (
        f"\n## {one['name']}\n\n{one['summary']} Lanes: {', '.join(one['lanes'])}.\n\n"
        f"| key | type | default | what it is |\n|---|---|---|---|\n{table}\n```json\n{example}\n```\n"
    )


def row(key: ConfigKey) -> str:
    """One key as a line of the table."""
    default = f"`{key.default}`" if key.default not in {"", "required"} else key.default
    return f"| `{key.name}` | {key.kind} | {default} | {key.words} |\n"
