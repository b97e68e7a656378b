"""
Arrow tables in the binary form of COPY, which a server takes in about twice as fast as text.

A row is a count of fields, then for each its length and its bytes in network order; a missing value
is the length -1 alone. Each column is encoded whole: those parts of a row that are as wide in every
row go into one numpy array, and Arrow joins that with the others row by row, so that nothing here
loops over rows and other threads run meanwhile. Only such functions of Arrow are used as do not load
pandas, which a job may never need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from cableway.blocs.tables import library

CHUNK_BYTES = 4 * 1024 * 1024
MAX_FIELDS = 32767
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_EPOCH_DAYS = 10_957
_EPOCH_US = _EPOCH_DAYS * 86_400_000_000
_MISSING = -1
_TEXTS = frozenset({"text", "character varying", "character", "json"})
_JSONB = b"\x01"


class Even(NamedTuple):
    """A part of a row that is as wide in every row: numpy's code for it, and its values or the one of all rows."""

    code: str
    values: Any


Encode = Callable[[Any], list[Any]]
"""Makes of a column of one chunk what stands side by side in each row: `Even`, or Arrow arrays of byte strings."""


def binary_chunks(table: Any, columns: Mapping[str, str]) -> Iterator[memoryview | bytes] | None:
    """*table* as a COPY in binary form, about 4 MiB at a time; None where a value has no such form.

    *columns* are the types of the target's columns by name.
    """
    if table.num_columns > MAX_FIELDS:
        return None
    fitted: list[Any] = []
    encoders: list[Encode] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        form = _form(column, columns.get(name, ""))
        if form is None:
            return None
        fitted.append(form[0])
        encoders.append(form[1])
    return _chunks(fitted, encoders, table.num_rows)


def _chunks(columns: list[Any], encoders: list[Encode], rows: int) -> Iterator[memoryview | bytes]:
    yield HEADER
    size = sum(column.nbytes + 4 * rows for column in columns)
    step = max(1, CHUNK_BYTES * rows // max(1, size))
    for start in range(0, rows, step):
        pieces: list[Any] = [Even(">i2", len(columns))]
        for column, encode in zip(columns, encoders, strict=True):
            pieces += encode(_contiguous(column.slice(start, step)))
        yield _joined(pieces, min(step, rows - start))
    yield TRAILER


def _joined(pieces: Sequence[Any], rows: int) -> memoryview:
    """*pieces* side by side in each row."""
    if all(isinstance(piece, Even) for piece in pieces):
        return memoryview(_fused(pieces, rows).view("u1"))
    arrays: list[Any] = []
    for even, members in groupby(pieces, lambda piece: isinstance(piece, Even)):
        if even:
            fused = _fused(list(members), rows)
            arrays.append(_pieces(fused, fused.itemsize, rows))
        else:
            arrays += members
    joined = library("pyarrow.compute").binary_join_element_wise(*arrays, _constant(b""))
    return memoryview(joined.buffers()[2])


def _form(column: Any, target: str) -> tuple[Any, Encode] | None:
    """*column* in the Arrow type that *target* takes, and how it is encoded; None where that cannot be."""
    pa, types = library("pyarrow"), library("pyarrow").types
    kind = column.type
    if types.is_dictionary(kind):
        return _form(column.cast(kind.value_type), target)
    whole = {"smallint": (pa.int16(), ">i2"), "integer": (pa.int32(), ">i4"), "bigint": (pa.int64(), ">i8")}
    if target in whole and (types.is_integer(kind) or types.is_floating(kind)):
        return _cast(_without_nan(column), whole[target][0], _fixed(whole[target][1]))
    if target == "double precision" and types.is_floating(kind):
        return _cast(column, pa.float64(), _fixed(">f8"))
    if target == "real" and (types.is_float32(kind) or types.is_float16(kind)):
        return _cast(column, pa.float32(), _fixed(">f4"))
    if target == "boolean" and types.is_boolean(kind):
        return _cast(column, pa.uint8(), _fixed("u1"))
    if target == "date" and types.is_date32(kind):
        return _since_2000(column, pa.int32(), _EPOCH_DAYS, ">i4")
    if target in {"timestamp without time zone", "timestamp with time zone", "timestamp", "timestamptz"}:
        return _instants(column) if types.is_timestamp(kind) else None
    return _bytes_form(column, target)


def _bytes_form(column: Any, target: str) -> tuple[Any, Encode] | None:
    pa, types = library("pyarrow"), library("pyarrow").types
    kind = column.type
    text = types.is_string(kind) or types.is_large_string(kind)
    if (types.is_null(kind) or types.is_string_view(kind)) and target in _TEXTS:
        column, text = column.cast(pa.string()), True
    if text and (target in _TEXTS or target == "jsonb"):
        # From text to bytes nothing is copied.
        large = pa.large_binary() if types.is_large_string(kind) else pa.binary()
        return column.cast(large), _variable(_JSONB if target == "jsonb" else b"")
    if target == "bytea" and types.is_fixed_size_binary(kind):
        return column.cast(pa.binary()), _variable(b"")
    if target == "bytea" and (types.is_binary(kind) or types.is_large_binary(kind)):
        return column, _variable(b"")
    return None


def _without_nan(column: Any) -> Any:
    """Columns of whole numbers take no NaN; pandas means a missing value by it."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.nulls(1, column.type)[0], column)


def _instants(column: Any) -> tuple[Any, Encode] | None:
    pa = library("pyarrow")
    in_us = _cast(column, pa.timestamp("us", column.type.tz), _variable(b""))  # fails for parts of a microsecond
    return None if in_us is None else _since_2000(in_us[0], pa.int64(), _EPOCH_US, ">i8")


def _cast(column: Any, kind: Any, encode: Encode) -> tuple[Any, Encode] | None:
    pa = library("pyarrow")
    try:
        return (column if column.type == kind else column.cast(kind)), encode
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # in text the server says which row it is


def _since_2000(column: Any, stored: Any, epoch: int, code: str) -> tuple[Any, Encode] | None:
    """Days or microseconds counted from Postgres's epoch; its extremes would mean infinity there."""
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    counted = column.cast(stored)
    bounds = pc.min_max(counted.cast(pa.int64())).as_py()
    limit = (1 << (stored.bit_width - 1)) - 1 - epoch
    if bounds["min"] is not None and not -limit < bounds["min"] <= bounds["max"] < limit:
        return None
    return counted, _fixed(code, epoch)


def _contiguous(column: Any) -> Any:
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else column.combine_chunks()


def _fixed(code: str, less: int = 0) -> Encode:
    """Values of one width, *less* taken from each."""
    np = library("numpy")
    width = np.dtype(code).itemsize

    def encode(column: Any) -> list[Any]:
        values = _values(column)
        if less:
            values = values.astype(np.int64) - less
        if not column.null_count:
            return [Even(">i4", width), Even(code, values)]
        valid = _valid(column)
        lengths = np.where(valid, width, _MISSING)
        fields = _fused([Even(">i4", lengths), Even(code, np.where(valid, values, 0))], len(column))
        ends = np.concatenate(([0], np.cumsum(np.where(valid, width + 4, 4))))
        kept = np.ones((len(column), width + 4), bool)
        kept[:, 4:] = valid[:, None]
        return [_binary(fields.view("u1").reshape(-1, width + 4)[kept], ends)]

    return encode


def _variable(prefix: bytes) -> Encode:
    """Bytes of any length, each with *prefix* before it."""
    np, pa, pc = library("numpy"), library("pyarrow"), library("pyarrow.compute")

    def encode(column: Any) -> list[Any]:
        if not column.null_count:
            lengths = _values(pc.binary_length(column)) + len(prefix)
            before = [Even("u1", byte) for byte in prefix]
            return [Even(">i4", lengths), *before, column.cast(pa.large_binary())]
        valid = _valid(column)
        texts = pc.coalesce(column.cast(pa.large_binary()), _constant(b""))
        lengths = np.where(valid, _values(pc.binary_length(texts)) + len(prefix), _MISSING)
        if not prefix:
            return [Even(">i4", lengths), texts]
        ends = np.concatenate(([0], np.cumsum(valid))) * len(prefix)
        return [Even(">i4", lengths), _binary(np.frombuffer(prefix * int(valid.sum()), np.uint8), ends), texts]

    return encode


def _values(column: Any) -> Any:
    """The numbers of *column* as they lie in memory; where one is missing it may be any."""
    np, types = library("numpy"), library("pyarrow").types
    kind = column.type
    code = "f" if types.is_floating(kind) else "u" if types.is_unsigned_integer(kind) else "i"
    values = np.frombuffer(column.buffers()[1], f"{code}{kind.bit_width // 8}")
    return values[column.offset : column.offset + len(column)]


def _valid(column: Any) -> Any:
    return _values(column.is_valid().cast(library("pyarrow").uint8())) != 0


def _fused(parts: Sequence[Even], rows: int) -> Any:
    np = library("numpy")
    fused = np.empty(rows, [(f"part{number}", part.code) for number, part in enumerate(parts)])
    for number, part in enumerate(parts):
        fused[f"part{number}"] = part.values
    return fused


def _pieces(values: Any, width: int, count: int) -> Any:
    np = library("numpy")
    return _binary(values, np.arange(0, (count + 1) * width, width))


def _constant(value: bytes) -> Any:
    """*value* as Arrow's scalar."""
    return _binary(library("numpy").frombuffer(value, "u1"), library("numpy").array([0, len(value)]))[0]


def _binary(values: Any, ends: Any) -> Any:
    """An Arrow array of byte strings that lie in *values* one after the other."""
    np, pa = library("numpy"), library("pyarrow")
    offsets = ends.astype(np.int64, copy=False)
    return pa.Array.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
    )
