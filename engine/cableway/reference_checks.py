"""Whether the references in a config lead to something, all of them at once and before anything runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, cast

from cableway.errors import Fault
from cableway.pointers import escaped

_KINDS = ("env", "param", "secret")
_REFERENCE = re.compile(r"\$\{([A-Za-z_-]{1,20}):([^{}]*)\}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def reference_faults(value: Any, parameters: Collection[str], pointer: str) -> Iterator[Fault]:
    """Every reference in *value* to a parameter that is not there, and every one that is misspelt."""
    match value:
        case str() if "${" in value:
            for kind, name in _REFERENCE.findall(value):
                message = _fault(kind, name, parameters)
                if message is not None:
                    yield Fault(pointer, "unknown_parameter" if kind == "param" else "reference", message)
        case Mapping():
            for key, member in cast("Mapping[str, Any]", value).items():
                yield from reference_faults(member, parameters, f"{pointer}/{escaped(key)}")
        case list() | tuple():
            for number, member in enumerate(cast("list[Any]", value)):
                yield from reference_faults(member, parameters, f"{pointer}/{number}")
        case _:
            pass


def _fault(kind: str, name: str, parameters: Collection[str]) -> str | None:
    """What is wrong with a reference; a text that only looks a little like one is none."""
    if kind not in _KINDS:
        near = get_close_matches(kind, _KINDS, n=1)
        return f"no references of the kind {kind!r}; near it: {near[0]}" if near else None
    if not _NAME.fullmatch(name):
        return f"a name after {kind}: has letters, digits and underscores"
    if kind == "param" and name not in parameters:
        known = ", ".join(sorted(parameters)[:20]) or "none"
        return f"no parameter {name!r}; the pipeline has: {known}"
    return None
