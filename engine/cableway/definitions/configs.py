"""
Bloc configs judged by their own models: pydantic's part of the catalog, loaded only to check.

Every message is ours to show: field names and rules, never the value that was given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cableway.definition import JsonObject
from cableway.definitions.documents import limit_faults
from cableway.definitions.known_keys import UNKNOWN, unknown_key
from cableway.definitions.pointers import escaped, parts_of
from cableway.errors import Fault
from cableway.references import is_reference

# Pydantic reads the docstrings of attributes by way of ast.parse, which Python 3.11 cannot do in two threads at once.
_ONE_AT_A_TIME = Lock()
_STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_UNKNOWN_KEY = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
_SHOULD = re.compile("^[A-Z][a-z]+ should ")
_SAID_OTHERWISE = {
    "missing": "is required",
    "unexpected_keyword_argument": UNKNOWN,
    "extra_forbidden": UNKNOWN,
}


@lru_cache(maxsize=1024)
def adapter_of(config_type: type) -> TypeAdapter[Any]:
    """What validates *config_type* and refuses unknown keys, in a dataclass and those inside it as well; made once."""
    with _ONE_AT_A_TIME:
        for part in _dataclasses(config_type, set()):
            if "__pydantic_config__" not in part.__dict__:
                setattr(part, "__pydantic_config__", _STRICT)  # noqa: B010 - a type checker knows no such attribute
        try:
            return TypeAdapter(config_type)
        except SystemError:  # Python 3.11 miscounts the depth of a parse that the garbage collector came into
            return TypeAdapter(config_type)


@lru_cache(maxsize=256)
def _schema_of(adapter: TypeAdapter[Any]) -> JsonObject:
    return adapter.json_schema()


def described_throughout(schema: JsonObject, config_type: type) -> JsonObject:
    """The JSON *schema* of *config_type*, with what its bases say of the fields that it inherits from them."""
    properties: dict[str, JsonObject] = schema.get("properties", {})
    for base in filter(is_dataclass, config_type.__mro__[1:]):
        for name, inherited in adapter_of(base).json_schema().get("properties", {}).items():
            if name in properties and "description" in inherited:
                properties[name].setdefault("description", inherited["description"])
    return schema


def config_faults(
    adapter: TypeAdapter[Any], config: Mapping[str, Any], *, references: bool = True
) -> tuple[Any | None, list[Fault]]:
    """The config object, or None with what is wrong, at pointers from the config's own root.

    With *references*, as when a definition is saved, a ``${...}`` stands for a value that is not
    known yet, so that it is no fault where a number is wanted (the object is then None and the list
    may be empty), and types are strict. Without, as when they are resolved, ``"5"`` is a number.
    """
    try:
        if not references:
            return adapter.validate_python(dict(config)), []
        return adapter.validate_json(json.dumps(config), strict=True), []
    except (TypeError, RecursionError):
        return None, limit_faults(config)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    # A key that is not known is none, whatever value it will have.
    open_values = [detail["type"] not in _UNKNOWN_KEY and is_reference(detail["input"]) for detail in details]
    found = [detail for detail, is_open in zip(details, open_values, strict=True) if not (references and is_open)]
    return None, list(faults_of(found, config, adapter))


def written_out(made: Any, given: Mapping[str, Any]) -> JsonObject:
    """The config as JSON with every default; a pydantic model keeps what was given as it was given."""
    if isinstance(made, BaseModel):
        return {**made.model_dump(mode="json", by_alias=True, exclude=set(given)), **given}
    return asdict(made)


def faults_of(
    details: Sequence[ErrorDetails], document: Any, adapter: TypeAdapter[Any] | None = None
) -> Iterator[Fault]:
    """Pydantic's errors as faults: one for each place, where a union would list one for each member.

    Of a key that is not known the *adapter* tells which ones are.
    """
    seen: set[str] = set()
    for detail in details:
        pointer = _pointer(detail["loc"], document, missing=detail["type"] == "missing")
        if pointer in seen:
            continue
        seen.add(pointer)
        if detail["type"] in _UNKNOWN_KEY and adapter is not None and pointer:
            said = unknown_key(_schema_of(adapter), parts_of(pointer))
        else:
            said = _SAID_OTHERWISE.get(detail["type"]) or _small(detail["msg"])
        yield Fault(pointer, detail["type"], said)


def _pointer(location: Sequence[int | str], document: Any, *, missing: bool) -> str:
    """*location* as far as it exists in *document*: the names of union members in it do not."""
    pointer, current = "", document
    for position, part in enumerate(location):
        inside = _member(current, part)
        if inside is not None:
            current = inside[0]
        elif not (missing and position == len(location) - 1):
            continue
        pointer += f"/{escaped(part)}"
    return pointer


def _member(current: Any, part: int | str) -> tuple[Any] | None:
    if isinstance(current, Mapping):
        members = cast("Mapping[Any, Any]", current)
        return (members[part],) if part in members else None
    if isinstance(current, list | tuple) and isinstance(part, int):
        listed = cast("Sequence[Any]", current)
        return (listed[part],) if part < len(listed) else None
    return None


def _small(message: str) -> str:
    """A sentence of pydantic's as ours begin."""
    return _SHOULD.sub("must ", message.removeprefix("Value error, "), count=1)


def _dataclasses(hint: Any, seen: set[Any]) -> Iterator[type]:
    """Each dataclass within a type hint, itself included."""
    for part in get_args(hint):
        yield from _dataclasses(part, seen)
    if isinstance(hint, type) and is_dataclass(hint) and hint not in seen:
        seen.add(hint)
        yield hint
        hints = get_type_hints(hint, include_extras=True)
        for entry in fields(hint):
            yield from _dataclasses(hints[entry.name], seen)
