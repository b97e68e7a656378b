"""Arrow tables as Postgres takes them in: column types for CREATE TABLE, CSV bytes for COPY.

In these bytes text stands in quotes and a missing value is nothing at all, so that an empty text
and a missing one stay apart. Instants are written in UTC without saying so, which is ten times
faster; the session's time zone must be UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cableway.blocs.tables import library
from cableway.errors import RowError

CHUNK_BYTES = 1024 * 1024
_WHOLE = frozenset({"smallint", "integer", "bigint"})


def postgres_type(kind: Any) -> str:
    """The type of a new column for values of the Arrow type *kind*."""
    pa = library("pyarrow")
    types = pa.types
    simple = {
        pa.int8(): "smallint",
        pa.int16(): "smallint",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.uint8(): "smallint",
        pa.uint16(): "integer",
        pa.uint32(): "bigint",
        pa.uint64(): "numeric(20,0)",
        pa.float16(): "real",
        pa.float32(): "real",
        pa.float64(): "double precision",
        pa.bool_(): "boolean",
    }
    if kind in simple:
        return simple[kind]
    if types.is_dictionary(kind):
        return postgres_type(kind.value_type)
    if types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if types.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "timestamptz"
    if types.is_date(kind):
        return "date"
    return _rarer_type(kind)


def _rarer_type(kind: Any) -> str:
    pa = library("pyarrow")
    types = pa.types
    if types.is_time(kind):
        return "time"
    if types.is_duration(kind):
        return "interval"
    if _is_bytes(kind):
        return "bytea"
    if types.is_nested(kind):
        return "jsonb"
    if _is_uuid(kind):
        return "uuid"
    if isinstance(kind, pa.BaseExtensionType):
        return postgres_type(kind.storage_type)
    return "text"


def csv_chunks(table: Any) -> Iterator[memoryview]:
    """*table*, which `fitted` gave, as the bytes of a COPY in CSV format, about 1 MiB at a time."""
    pa, arrow_csv = library("pyarrow"), library("pyarrow.csv")
    options = arrow_csv.WriteOptions(include_header=False)
    rows = max(1, CHUNK_BYTES * table.num_rows // max(1, table.nbytes))
    for start in range(0, table.num_rows, rows):
        sink = pa.BufferOutputStream()
        arrow_csv.write_csv(table.slice(start, rows), sink, options)
        yield memoryview(sink.getvalue())


def fitted(table: Any, columns: Mapping[str, str], where: str) -> Any:
    """*table* in types that can be written for *columns* (Postgres types by name).

    Raise `RowError` for a number with a fraction in a column of whole ones.
    """
    pa = library("pyarrow")
    arrays = [
        _writable(table.column(name), columns.get(name, ""), name, where) for name in map(str, table.column_names)
    ]
    return pa.table(arrays, names=table.column_names)


def row_of_line(table: Any, line: int) -> int:
    """The row that line *line* of the table's CSV belongs to, both counted from 1: texts may hold line ends."""
    pc = library("pyarrow.compute")
    texts = [column for column in table.columns if _is_text(column.type)]
    if not texts:
        return line
    more: Sequence[int] = [0] * table.num_rows
    for column in texts:
        # Before it has seen a line end, so in the first row, the server takes a return for one.
        breaks = pc.fill_null(pc.count_substring(column, "\n"), 0).to_pylist()
        breaks[:1] = pc.fill_null(pc.count_substring(column.slice(0, 1), "\r"), 0).to_pylist()
        more = [total + extra for total, extra in zip(more, breaks, strict=True)]
    reached = 0
    for row, extra in enumerate(more, 1):
        reached += 1 + extra
        if reached >= line:
            return row
    return int(table.num_rows)


def place_of_nul(table: Any) -> tuple[int, str] | None:
    """Row and column of the first NUL character in a text; the server only knows which block it was in."""
    pc = library("pyarrow.compute")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if _is_text(column.type):
            index = pc.index(pc.fill_null(pc.match_substring(column, "\x00"), fill_value=False), value=True).as_py()
            if index >= 0:
                return index + 1, name
    return None


def _writable(column: Any, target: str, name: str, where: str) -> Any:
    pa = library("pyarrow")
    types, kind = pa.types, column.type
    if types.is_floating(kind) and target in _WHOLE:
        return _whole_numbers(column, name, where)
    if types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.timestamp(kind.unit))
    if types.is_dictionary(kind):
        return _writable(column.cast(kind.value_type), target, name, where)
    if types.is_float16(kind):
        return column.cast(pa.float32())
    if types.is_null(kind):
        return column.cast(pa.string())
    if types.is_primitive(kind) and not types.is_duration(kind):
        return column
    if _is_text(kind) or types.is_decimal(kind):
        return column
    return pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())


def _whole_numbers(column: Any, name: str, where: str) -> Any:
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    # Postgres takes no NaN into a column of whole numbers; pandas means a missing value by it.
    numbers = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid:
        odd = pc.index(pc.fill_null(pc.not_equal(pc.trunc(numbers), numbers), fill_value=False), value=True).as_py()
        row = odd + 1 if odd >= 0 else None
        raise RowError(
            "is no whole number, and the table's column holds those", where=where, row=row, column=name
        ) from None


def _text(value: Any) -> str:
    """A value of a rarer type as Postgres reads it."""
    match value:
        case bytes():
            return f"\\x{value.hex()}"
        case dict() | list():
            return json.dumps(value, default=str, ensure_ascii=False)
        case _ if hasattr(value, "total_seconds"):
            return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"
        case _:
            return str(value)


def _is_bytes(kind: Any) -> bool:
    types = library("pyarrow").types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _is_text(kind: Any) -> bool:
    types = library("pyarrow").types
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_uuid(kind: Any) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"
