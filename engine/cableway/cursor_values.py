"""Values of a cursor field: as they are kept from run to run, and as they are compared with those of a config."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

from cableway.errors import SourceError


def alike(value: Any, other: Any) -> Any:
    """*value*, which a config or a state holds, as the type that *other* has, so that the two can be compared.

    Raise `SourceError` where they cannot.
    """
    if type(value) is type(other):
        return value
    try:
        return _converted(value, other)
    except (ValueError, TypeError, ArithmeticError, AttributeError):
        raise SourceError(
            f"the cursor field holds {type(other).__name__} values, and a {type(value).__name__} was to be compared"
        ) from None


def _converted(value: Any, other: Any) -> Any:
    if isinstance(other, datetime):
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 - a zone follows where there is one
        if other.tzinfo is None:
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo is not None else moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if isinstance(other, date):
        return date.fromisoformat(value) if isinstance(value, str) else value.date()
    if isinstance(other, Decimal):
        return Decimal(str(value))
    if isinstance(other, int | float) and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    raise TypeError


def encoded(value: Any) -> Any:
    """*value* as JSON that keeps its type. Raise `SourceError` for one that is no number, time or text."""
    if isinstance(value, int | float | str):
        return value
    for kind, name in ((datetime, "datetime"), (date, "date")):
        if isinstance(value, kind):
            return {name: value.isoformat()}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    raise SourceError(f"the cursor field holds {type(value).__name__} values; it needs numbers, times or text")


def decoded(value: Any) -> Any:
    """The value that `encoded` wrote."""
    if not isinstance(value, Mapping):
        return value
    ((kind, text),) = cast("Mapping[str, str]", value).items()
    match kind:
        case "datetime":
            return datetime.fromisoformat(text)
        case "date":
            return date.fromisoformat(text)
        case _:
            return Decimal(text)
