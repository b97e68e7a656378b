"""Arrow columns out of JSON values, by the types that they had."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast


def column_of(pa: Any, values: Sequence[Any], kind: Any) -> Any:
    """An array of *kind*, with the *values* that a payload has for it."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    read = _reader(pa, inner)
    read_values = [None if value is None else read(value) for value in values]
    made = pa.array(read_values, inner)
    return made.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else made


def _reader(pa: Any, kind: Any) -> Callable[[Any], Any]:
    """What makes a value of *kind* of its JSON."""
    types = pa.types
    found = _nested(pa, kind)
    if found is not None:
        return found
    readers: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
        (types.is_integer, int),
        (types.is_floating, float),
        (types.is_decimal, lambda value: Decimal(str(value))),
        (types.is_date, lambda value: date.fromisoformat(str(value)[:10])),
        (types.is_timestamp, _instant(kind)),
        (types.is_time, lambda value: time.fromisoformat(str(value))),
        (types.is_duration, lambda value: timedelta(microseconds=int(value))),
        (types.is_binary, base64.b64decode),
        (types.is_large_binary, base64.b64decode),
        (types.is_fixed_size_binary, base64.b64decode),
    )
    return next((read for fits, read in readers if fits(kind)), _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _nested(pa: Any, kind: Any) -> Callable[[Any], Any] | None:
    types = pa.types
    if types.is_struct(kind):
        fields = {field.name: _optional(_reader(pa, field.type)) for field in kind}
        return lambda value: {name: read(cast("Mapping[str, Any]", value).get(name)) for name, read in fields.items()}
    if types.is_map(kind):
        key, item = _optional(_reader(pa, kind.key_type)), _optional(_reader(pa, kind.item_type))
        return lambda value: [(key(pair[0]), item(pair[1])) for pair in value]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        member = _optional(_reader(pa, kind.value_type))
        return lambda value: [member(each) for each in value]
    return None


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _instant(kind: Any) -> Callable[[Any], Any]:
    if getattr(kind, "unit", "") != "ns":
        return lambda value: datetime.fromisoformat(str(value))

    def read(value: Any) -> Any:
        from cableway.blocs.tables import library  # only pandas knows nanoseconds

        return library("pandas").Timestamp(str(value))

    return read
