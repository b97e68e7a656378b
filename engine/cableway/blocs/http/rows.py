"""An item as rows, whatever form it has: what is sent out for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from cableway.blocs.tables import is_tabular, to_arrow

if TYPE_CHECKING:
    from cableway.context import RunContext


def rows_of(value: Any, where: str) -> list[dict[str, Any]]:
    """The rows of a table, an object as one row, anything else as a row with the one column ``value``."""
    if isinstance(value, list):
        rows = cast("list[Any]", value)
        return [row for member in rows for row in rows_of(member, where)] if not is_tabular(rows) else rows
    if isinstance(value, Mapping):
        return [dict(cast("Mapping[str, Any]", value))]
    if is_tabular(value):
        return cast("list[dict[str, Any]]", to_arrow(value, where).to_pylist())
    return [] if value is None else [{"value": value}]


def input_rows(context: RunContext, where: str) -> list[dict[str, Any]]:
    """The rows of what the bloc before gave; one row without columns where there is no bloc before."""
    return rows_of(context.input(), where) if context.inputs else [{}]
