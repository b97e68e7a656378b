"""Whether the references in a config lead to something, all of them at once and before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, cast

from cableway.definition import PipelineDefinition
from cableway.definitions.pointers import escaped
from cableway.errors import Fault
from cableway.references import Referable, unlisted_secret, unlisted_variable
from cableway.secret_sources import OWN

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
"""The name of an environment variable."""
SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}", re.ASCII)
"""The name of a secret."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_-]{1,20}):([^{}]*)\}", re.ASCII)
_FORMS = {"env": VARIABLE, "param": re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII), "secret": SECRET}
_AND = {"secret": ", also dashes"}


def listing_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    """What is wrong with the names in the pipeline's ``secrets`` and ``env``."""
    for key, names, form in (("secrets", definition.secrets, SECRET), ("env", definition.env, VARIABLE)):
        for number, name in enumerate(names):
            pointer = f"/{key}/{number}"
            if not form.fullmatch(name):
                yield Fault(
                    pointer, "name", "has letters, digits and underscores (a secret also dashes), no digit first"
                )
            elif key == "env" and name.upper().startswith(OWN):
                yield Fault(pointer, "env", f"no pipeline reads {OWN}*; make the variable a secret under another name")
            elif name in names[:number]:
                yield Fault(pointer, "duplicate", "is listed before")


def reference_faults(value: Any, known: Referable, pointer: str) -> Iterator[Fault]:
    """Every reference in *value* to what is not *known*, and every one that is misspelt."""
    match value:
        case str() if "${" in value:
            for kind, name in _REFERENCE.findall(value):
                message = _fault(kind, name, known)
                if message is not None:
                    yield Fault(pointer, "unknown_parameter" if kind == "param" else "reference", message)
        case Mapping():
            for key, member in cast("Mapping[str, Any]", value).items():
                yield from reference_faults(member, known, f"{pointer}/{escaped(key)}")
        case list() | tuple():
            for number, member in enumerate(cast("list[Any]", value)):
                yield from reference_faults(member, known, f"{pointer}/{number}")
        case _:
            pass


def _fault(kind: str, name: str, known: Referable) -> str | None:
    """What is wrong with a reference; a text that only looks a little like one is none."""
    if kind not in _FORMS:
        near = get_close_matches(kind, _FORMS, n=1)
        return f"no references of the kind {kind!r}; near it: {near[0]}" if near else None
    if not _FORMS[kind].fullmatch(name):
        return f"a name after {kind}: has letters, digits and underscores{_AND.get(kind, '')}, and begins with no digit"
    match kind:
        case "env":
            return unlisted_variable(name, known.env)
        case "secret":
            return unlisted_secret(name, known.secrets)
        case _:
            there = ", ".join(sorted(known.parameters)[:20]) or "none"
            return None if name in known.parameters else f"no parameter {name!r}; the pipeline has: {there}"
