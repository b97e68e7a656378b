"""
A run's parameters against what its pipeline says of them: types, allowed values, defaults.

Without pydantic, for the job and the webhook both need it at once. Every fault is listed with a JSON
pointer; values are never echoed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, assert_never, cast

from cableway.definition import ParameterDefinition, ParameterType
from cableway.errors import Fault, ParameterError

MAX_DEPTH = 64
"""Levels of nesting that a parameter may have."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def checked_parameters(
    definitions: Mapping[str, ParameterDefinition], given: Mapping[str, Any], texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """*given* with defaults filled in; one that is neither given nor has a default is None.

    *texts* are those that a command line gives as ``name=text``: each is read by its parameter's type, arrays
    and objects as JSON, and goes before one in *given*. Raise `ParameterError` with every fault at once.
    """
    read, unreadable = _from_texts(definitions, texts or {})
    given = {**given, **read}
    faults = [_unknown(name, definitions) for name in {**given, **(texts or {})} if name not in definitions]
    values: dict[str, Any] = {}
    for name, definition in definitions.items():
        if name in unreadable:
            faults.append(_wrong_type(_pointer(name), definition.type))
            continue
        values[name] = given.get(name, definition.default)
        fault = _fault(_pointer(name), definition, values[name], is_given=name in given)
        if fault is not None:
            faults.append(fault)
    return _or_raise(values, faults)


def _from_texts(
    definitions: Mapping[str, ParameterDefinition], texts: Mapping[str, str]
) -> tuple[dict[str, Any], set[str]]:
    """What *texts* mean, and the names of those that are not of their parameter's type."""
    values: dict[str, Any] = {}
    unreadable: set[str] = set()
    for name in texts.keys() & definitions.keys():
        try:
            values[name] = _from_text(texts[name], definitions[name].type)
        except ValueError:
            unreadable.add(name)
    return values, unreadable


def default_faults(definitions: Mapping[str, ParameterDefinition]) -> list[Fault]:
    """What is wrong with defaults and allowed values themselves, at pointers from the document's root."""
    faults: list[Fault] = []
    for name, definition in definitions.items():
        pointer = _pointer(name)
        if definition.default is not None:
            fault = _fault(f"{pointer}/default", definition, definition.default, is_given=True)
            faults += [fault] if fault is not None else []
        for number, value in enumerate(definition.enum or ()):
            if not _has_type(value, definition.type):
                faults.append(_wrong_type(f"{pointer}/enum/{number}", definition.type))
    return faults


def restored_parameters(document: Mapping[str, Any]) -> dict[str, ParameterDefinition]:
    """The definitions out of a stored version's ``parameters``."""
    return {name: ParameterDefinition(**_with_tuple(fields)) for name, fields in document.items()}


def _with_tuple(fields: Mapping[str, Any]) -> dict[str, Any]:
    enum = fields["enum"]
    return {**fields, "enum": None if enum is None else tuple(enum)}


def _or_raise(values: dict[str, Any], faults: list[Fault]) -> dict[str, Any]:
    if faults:
        listed = "; ".join(f"{fault.pointer}: {fault.message}" for fault in faults)
        raise ParameterError(f"the parameters do not fit: {listed}", faults)
    return values


def _fault(pointer: str, definition: ParameterDefinition, value: Any, *, is_given: bool) -> Fault | None:
    if not is_given or value is None:
        if definition.required and value is None:
            return Fault(pointer, "missing", "is required")
        if not is_given or definition.default is None:
            return None
    if not _has_type(value, definition.type):
        return _wrong_type(pointer, definition.type)
    if definition.enum is not None and value not in definition.enum:
        allowed = ", ".join(json.dumps(each) for each in definition.enum)
        return Fault(pointer, "not_allowed", f"must be one of {allowed}")
    if not is_storable(value):
        return Fault(pointer, "not_storable", "holds NaN, an infinity, a NUL, half a character, or too many levels")
    return None


def _has_type(value: Any, kind: ParameterType) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list | tuple)
        case "object":
            return isinstance(value, Mapping)
        case _:
            assert_never(kind)


def is_storable(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether Postgres takes *value* as JSON, just as it is, and it has no more *levels* of nesting."""
    match value:
        case None | bool():
            return True
        case str():
            if "\x00" in value:
                return False
            # Most texts are plain, and a long one is not to be looked at letter by letter.
            return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
        case int():
            return value.bit_length() <= 8192
        case float():
            return math.isfinite(value)
        case list() | tuple():
            members = cast("Sequence[Any]", value)
            return levels > 0 and all(is_storable(member, levels - 1) for member in members)
        case Mapping():
            pairs = cast("Mapping[Any, Any]", value)
            keys_fit = all(isinstance(key, str) and is_storable(key, 0) for key in pairs)
            return levels > 0 and keys_fit and all(is_storable(member, levels - 1) for member in pairs.values())
        case _:
            return False


def _from_text(text: str, kind: ParameterType) -> Any:
    match kind:
        case "string":
            return text
        case "integer":
            return int(text)
        case "number":
            return _number(text)
        case "boolean":
            return _boolean(text)
        case "array" | "object":
            return json.loads(text)
        case _:
            assert_never(kind)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(word)


def _unknown(name: str, definitions: Mapping[str, ParameterDefinition]) -> Fault:
    known = ", ".join(sorted(definitions)) or "none"
    return Fault(_pointer(name[:80]), "unknown", f"is no parameter of this pipeline; it has: {known}")


def _wrong_type(pointer: str, kind: ParameterType) -> Fault:
    article = "an" if kind[0] in "aio" else "a"
    return Fault(pointer, "wrong_type", f"must be {article} {kind}")


def _pointer(name: str) -> str:
    return "/parameters/" + name.replace("~", "~0").replace("/", "~1")
