"""A condition on a column: a comparison with values of a config, as an Arrow mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from annotated_types import MinLen

from cableway.blocs.tables import library
from cableway.errors import DefinitionError

Operator = Literal[
    "==", "!=", "<", "<=", ">", ">=", "in", "not in", "is null", "is not null", "starts with", "ends with", "contains"
]
_COMPARED = {"==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
_OF_TEXT = {"starts with": "starts_with", "ends with": "ends_with", "contains": "match_substring"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One column, one operator, one value."""

    column: Annotated[str, MinLen(1)]
    """The column."""
    op: Operator
    """How it is compared."""
    value: Any = None
    """With what: a list for ``in`` and ``not in``, text for dates and times, nothing for ``is null``."""

    @classmethod
    def of(cls, written: Any) -> Condition:
        """From what stands in a checked config."""
        return cls(**cast("Mapping[str, Any]", written)) if isinstance(written, Mapping) else written

    def fault(self) -> str | None:
        """What is wrong with the value for this operator; None where nothing is."""
        if self.op in {"in", "not in"}:
            return None if isinstance(self.value, list) else f"{self.op!r} wants a list"
        if self.op in {"is null", "is not null"}:
            return None if self.value is None else f"{self.op!r} wants no value"
        if self.op in _OF_TEXT:
            return None if isinstance(self.value, str) else f"{self.op!r} wants a text"
        if self.value is None:
            return "nothing compares with null; use 'is null' or 'is not null'"
        return "is a list or an object; compare with one value" if isinstance(self.value, list | dict) else None


def mask_of(table: Any, condition: Condition, where: str) -> Any:
    """Where the condition holds: true, false, or null for a missing value.

    Raise `DefinitionError` with *where* the condition stands when its value does not fit the column's type.
    """
    pc, column = library("pyarrow.compute"), table.column(condition.column)
    match condition.op:
        case "is null":
            return column.is_null()
        case "is not null":
            return column.is_valid()
        case "in" | "not in":
            wanted = _values(cast("list[Any]", condition.value), column.type, condition, where)
            found = pc.if_else(column.is_null(), None, pc.is_in(column, wanted))
            return found if condition.op == "in" else pc.invert(found)
        case "starts with" | "ends with" | "contains":
            return getattr(pc, _OF_TEXT[condition.op])(_text(column, condition, where), condition.value)
        case _:
            (value,) = _values([condition.value], column.type, condition, where)
            return getattr(pc, _COMPARED[condition.op])(column, value)


def _values(values: list[Any], kind: Any, condition: Condition, where: str) -> Any:
    """*values* in the column's type: text becomes a date, a whole number a fraction, and nothing is cut."""
    pa = library("pyarrow")
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    try:
        given = pa.array(values)
        if pa.types.is_integer(kind) and pa.types.is_floating(given.type):
            return given  # an integer column may be compared with 1.5
        return given.cast(kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise DefinitionError(
            f"{where}: the value cannot be compared with column {condition.column!r} of type {kind}"
        ) from None


def _text(column: Any, condition: Condition, where: str) -> Any:
    pa = library("pyarrow")
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DefinitionError(
            f"{where}: {condition.op!r} is for text, and column {condition.column!r} is of type {kind}"
        )
    return column
