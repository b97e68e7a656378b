"""Rows as Postgres sends them, in CSV, made into Arrow tables: a type for each column, and the bytes parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cableway.blocs.postgres.csv_text import CsvForm
from cableway.blocs.tables import library
from cableway.errors import SourceError

Numerics = Literal["decimal", "float64", "string"]

_DECIMAL_DIGITS, _DECIMAL_SCALE = 38, 18
"""Of a numeric that declares no precision."""
_NUMERIC = 1700
_PLAIN_SCALE = 6
_UUID, _BYTES, _JSON = 2950, 17, frozenset({114, 3802})
_PLAIN = {
    16: "bool_",
    20: "int64",
    21: "int16",
    23: "int32",
    26: "int64",
    700: "float32",
    701: "float64",
    1082: "date32",
}
_CSV_FORMS: dict[int, CsvForm] = {16: "boolean", 1082: "date", 1114: "timestamp", 1184: "timestamptz"}
_WITHIN_ARRAYS = {
    1000: "bool_",
    1005: "int16",
    1007: "int32",
    1016: "int64",
    1021: "float32",
    1022: "float64",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its type here, the type that it is parsed as, and what makes the one of the other."""

    name: str
    type: Any
    parsed: Any
    make: Callable[[Any, Any], Any] | None = None
    is_array: bool = False
    """The server is to send it as JSON, for Arrow reads no arrays."""
    csv: CsvForm | None = None
    """How it stands in CSV; None: as Arrow writes it alone."""


def field_of(column: Any, *, is_array: bool, numerics: Numerics) -> Field:
    """The field for a *column* of a cursor's description; what has no type of its own in Arrow is text."""
    pa = library("pyarrow")
    name, oid, text = str(column.name), int(column.type_code), pa.string()
    if is_array:
        inside = _WITHIN_ARRAYS.get(oid)
        return Field(name, pa.list_(getattr(pa, inside)() if inside else text), text, _lists, is_array=True)
    if oid in _PLAIN:
        kind = getattr(pa, _PLAIN[oid])()
        return Field(name, kind, kind, csv=_CSV_FORMS.get(oid, "number"))
    if oid == _NUMERIC:
        return _numeric_field(name, column, numerics)
    times = {1114: pa.timestamp("us"), 1184: pa.timestamp("us", "UTC"), 1083: pa.time64("us")}
    if oid in times:
        return Field(name, times[oid], times[oid], csv=_CSV_FORMS.get(oid))
    if oid == _UUID:
        return Field(name, pa.uuid(), text, _uuids, csv="text")
    if oid == _BYTES:
        return Field(name, pa.binary(), text, _bytes, csv="text")
    if oid in _JSON:
        return Field(name, pa.json_(), text, _cast, csv="text")
    return Field(name, text, text, csv="text")


def _numeric_field(name: str, column: Any, numerics: Numerics) -> Field:
    pa = library("pyarrow")
    kind = _numeric_type(column, numerics)
    if pa.types.is_decimal256(kind):  # Arrow's CSV knows no numbers as wide as that
        return Field(name, kind, pa.string(), _cast)
    if pa.types.is_string(kind):
        return Field(name, kind, kind, csv="text")
    # With a longer scale Arrow writes small numbers with an exponent, and without one Postgres keeps the digits given.
    plain = column.scale is not None and column.scale <= _PLAIN_SCALE and pa.types.is_decimal(kind)
    return Field(name, kind, kind, csv="number" if plain else None)


def _numeric_type(column: Any, numerics: Numerics) -> Any:
    pa = library("pyarrow")
    precision, scale = column.precision, column.scale
    if precision is not None and scale is not None and 0 <= scale <= precision <= 76:
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    match numerics:
        case "decimal":
            return pa.decimal128(_DECIMAL_DIGITS, _DECIMAL_SCALE)
        case "float64":
            return pa.float64()
        case "string":
            return pa.string()


class Parser:
    """Makes tables of *fields* out of bytes of CSV without a header, as COPY writes them."""

    def __init__(self, fields: Sequence[Field]) -> None:
        pa, arrow_csv = library("pyarrow"), library("pyarrow.csv")
        self._fields = fields
        # A name may come twice only here: what is read is told apart by place.
        names = [str(place) for place in range(len(fields))]
        self.schema = pa.schema([(field.name, field.type) for field in fields])
        # A row of one column without a value is an empty line.
        self._parse = arrow_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        self._names = names
        self._convert = arrow_csv.ConvertOptions(
            column_types={name: field.parsed for name, field in zip(names, fields, strict=True)},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t", "true"],
            false_values=["f", "false"],
        )

    def table(self, data: bytes | bytearray, where: str) -> Any:
        """The rows of *data*. Raise `SourceError` naming the column of a value that Arrow cannot hold."""
        pa, arrow_csv = library("pyarrow"), library("pyarrow.csv")
        if not data:
            return self.schema.empty_table()
        # One block, for the rows of an item are parsed together.
        read = arrow_csv.ReadOptions(column_names=self._names, block_size=len(data) + 1, use_threads=True)
        try:
            parsed = arrow_csv.read_csv(pa.BufferReader(pa.py_buffer(data)), read, self._parse, self._convert)
        except pa.ArrowException as error:
            raise self._said_anew(str(error), where) from None
        arrays = [self._made(field, column, where) for field, column in zip(self._fields, parsed.columns, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _made(self, field: Field, column: Any, where: str) -> Any:
        if field.make is None:
            return column
        try:
            return field.make(column, field.type)
        except (library("pyarrow").ArrowException, ValueError, TypeError):
            raise _misfit(field, where) from None

    def _said_anew(self, message: str, where: str) -> SourceError:
        """Without the value, which Arrow quotes."""
        found = re.match(r"In CSV column #(\d+)", message)
        if found is None:
            return SourceError(f"{where}: the rows cannot be read as CSV; is the database's encoding UTF8?")
        return _misfit(self._fields[int(found[1])], where)


def _misfit(field: Field, where: str) -> SourceError:
    pa = library("pyarrow")
    if pa.types.is_decimal(field.type):
        advice = "cast it to a numeric(p, s) in a query, or set numerics to 'float64' or 'string'"
    else:
        advice = "cast it in a query, to text if need be"
    return SourceError(f"{where}: column {field.name!r} holds a value that {field.type} cannot: {advice}")


def _lists(column: Any, kind: Any) -> Any:
    pa = library("pyarrow")
    inside = kind.value_type
    texts = column.to_pylist()
    if pa.types.is_string(inside):  # numbers among them keep their digits
        values = [None if text is None else json.loads(text, parse_float=str, parse_int=str) for text in texts]
        values = [None if value is None else [_plain(member) for member in value] for value in values]
    else:
        values = [None if text is None else json.loads(text) for text in texts]
    if pa.types.is_floating(inside):  # in JSON those that are no numbers are texts
        values = [None if value is None else [_number(member) for member in value] for value in values]
    return pa.array(values, kind)


def _plain(member: Any) -> str | None:
    return member if member is None or isinstance(member, str) else json.dumps(member, ensure_ascii=False)


def _number(member: Any) -> Any:
    return float(member) if isinstance(member, str) else member


def _bytes(column: Any, kind: Any) -> Any:
    pa = library("pyarrow")
    return pa.array([None if text is None else bytes.fromhex(text[2:]) for text in column.to_pylist()], kind)


def _uuids(column: Any, kind: Any) -> Any:
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    digits = pc.replace_substring(column, "-", "").to_pylist()
    plain = pa.array([None if text is None else bytes.fromhex(text) for text in digits], pa.binary(16))
    return pa.ExtensionArray.from_storage(kind, plain)


def _cast(column: Any, kind: Any) -> Any:
    return column.cast(kind)
