"""
Values judged by a JSON Schema of the kind that pydantic makes, and put into the form that pydantic gives them.

For bloc types whose code is elsewhere. It knows what such schemas are made of; a keyword that it does not
know passes, for the job judges the config again by the code itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from cableway.definition import JsonObject
from cableway.definitions.known_keys import UNKNOWN, said_of_unknown
from cableway.definitions.pointers import escaped
from cableway.errors import Fault
from cableway.references import is_reference

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list | tuple),
    "object": lambda value: isinstance(value, Mapping),
}
_NUMBERS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, limit: value >= limit, "must be at least"),
    "maximum": (lambda value, limit: value <= limit, "must be at most"),
    "exclusiveMinimum": (lambda value, limit: value > limit, "must be above"),
    "exclusiveMaximum": (lambda value, limit: value < limit, "must be below"),
    "multipleOf": (lambda value, limit: value % limit == 0, "must be a multiple of"),
}
_SIZES: Mapping[str, tuple[bool, str, str]] = {
    "minLength": (True, "must have at least", "characters"),
    "maxLength": (False, "must have at most", "characters"),
    "minItems": (True, "must hold at least", "values"),
    "maxItems": (False, "must hold at most", "values"),
    "minProperties": (True, "must hold at least", "keys"),
    "maxProperties": (False, "must hold at most", "keys"),
}


def fitted(schema: Mapping[str, Any], value: Any) -> tuple[Any, list[Fault]]:
    """*value* with defaults written out, and everything that is wrong with it.

    A ``${...}`` stands for a value that is not known yet, and fits anywhere; where one stands for something
    else than a text, *value* comes back as it is.
    """
    judge = _Judge(cast("Mapping[str, Any]", schema.get("$defs", {})))
    made, faults = judge.fit(schema, value, "")
    return (value if faults or judge.is_open else made), faults


class _Judge:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self.is_open = False
        """A reference stands where the schema wants no text."""

    def fit(self, schema: Any, value: Any, pointer: str) -> tuple[Any, list[Fault]]:
        if schema is False:
            return value, [Fault(pointer, "unexpected", UNKNOWN)]
        if schema is True:
            return value, []
        if "$ref" in schema:
            inner: Any = self._definitions.get(schema["$ref"].rpartition("/")[2], True)
            return self.fit(inner, value, pointer)
        for part in schema.get("allOf", ()):
            value, faults = self.fit(part, value, pointer)
            if faults:
                return value, faults
        choices: Any = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self._any(choices, value, pointer)
        if faults := list(_own_faults(schema, value, pointer)):
            if not is_reference(value):
                return value, faults
            self.is_open = True
            return value, []
        return self._inside(schema, value, pointer)

    def _any(self, choices: list[Any], value: Any, pointer: str) -> tuple[Any, list[Fault]]:
        """As the first choice that takes the value as it is, else as the first that takes it."""
        if is_reference(value):
            self.is_open = self.is_open or not any(self._takes(choice, value) for choice in choices)
            return value, []
        found = [self.fit(choice, value, pointer) for choice in choices]
        fitting = [made for made, faults in found if not faults]
        if fitting:
            return next((made for made in fitting if type(made) is type(value)), fitting[0]), []
        # The one of the right type says best what is wrong.
        near = [
            faults for _, faults in found if all(fault.code != "type" or fault.pointer != pointer for fault in faults)
        ]
        if len(near) == 1:
            return value, near[0]
        said = dict.fromkeys(fault.message for _, faults in found for fault in faults if fault.pointer == pointer)
        return value, [Fault(pointer, "type", ", or ".join(said) or "has none of the forms that it may have")]

    def _takes(self, choice: Any, reference: str) -> bool:
        judge = _Judge(self._definitions)
        judge.fit(choice, reference, "")
        return not judge.is_open

    def _inside(self, schema: Mapping[str, Any], value: Any, pointer: str) -> tuple[Any, list[Fault]]:
        if isinstance(value, Mapping):
            return self._object(schema, cast("Mapping[str, Any]", value), pointer)
        if isinstance(value, list | tuple):
            return self._array(schema, cast("list[Any]", value), pointer)
        if schema.get("type") == "number" and isinstance(value, int):
            return float(value), []
        return value, []

    def _object(
        self, schema: Mapping[str, Any], value: Mapping[str, Any], pointer: str
    ) -> tuple[JsonObject, list[Fault]]:
        known: Mapping[str, Any] = schema.get("properties", {})
        others: Any = schema.get("additionalProperties", True)
        faults = [
            Fault(f"{pointer}/{escaped(key)}", "missing", "is required")
            for key in schema.get("required", ())
            if key not in value
        ]
        made: JsonObject = {
            key: part["default"] for key, part in known.items() if "default" in part and key not in value
        }
        for key, member in value.items():
            if others is False and key not in known:
                made[key] = member
                faults.append(Fault(f"{pointer}/{escaped(key)}", "unexpected", said_of_unknown(key, known)))
                continue
            made[key], found = self.fit(known.get(key, others), member, f"{pointer}/{escaped(key)}")
            faults += found
        return made, faults

    def _array(self, schema: Mapping[str, Any], value: list[Any], pointer: str) -> tuple[list[Any], list[Fault]]:
        first: list[Any] = schema.get("prefixItems", [])
        rest: Any = schema.get("items", True)
        made: list[Any] = []
        faults: list[Fault] = []
        for number, member in enumerate(value):
            part = first[number] if number < len(first) else rest
            fitting, found = self.fit(part, member, f"{pointer}/{number}")
            made.append(fitting)
            faults += found
        return made, faults


def _own_faults(schema: Mapping[str, Any], value: Any, pointer: str) -> Iterator[Fault]:
    """What is wrong with *value* itself, whatever it holds."""
    wanted: Any = schema.get("type", ())
    types = [wanted] if isinstance(wanted, str) else list(wanted)
    if types and not any(_TYPES.get(name, _anything)(value) for name in types):
        yield Fault(pointer, "type", "must be " + " or ".join(map(_with_article, types)))
        return
    allowed: Any = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not any(value == one and type(value) is type(one) for one in allowed):
        yield Fault(pointer, "enum", "must be " + " or ".join(map(repr, allowed)))
    if _TYPES["number"](value):
        for key, (holds, words) in _NUMBERS.items():
            if key in schema and not holds(value, schema[key]):
                yield Fault(pointer, key, f"{words} {schema[key]:g}")
    if isinstance(value, str | list | tuple | Mapping):
        yield from _size_faults(schema, len(cast("str", value)), pointer)
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield Fault(pointer, "pattern", f"must match {schema['pattern']}")


def _size_faults(schema: Mapping[str, Any], size: int, pointer: str) -> Iterator[Fault]:
    for key, (at_least, words, what) in _SIZES.items():
        limit = schema.get(key)
        if limit is not None and (size < limit if at_least else size > limit):
            yield Fault(pointer, key, f"{words} {limit} {what}")


def _with_article(kind: str) -> str:
    return kind if kind == "null" else f"{'an' if kind[0] in 'aio' else 'a'} {kind}"


def _anything(_: Any) -> bool:
    return True
