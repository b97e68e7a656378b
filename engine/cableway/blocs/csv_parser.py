"""CSV text made an Arrow table; what Arrow says about a bad row is said anew, without the value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cableway.blocs.csv_records import BLOCK_BYTES, record_ends
from cableway.blocs.tables import library
from cableway.errors import SourceError

ColumnType = Literal["boolean", "date", "integer", "number", "string", "timestamp", "timestamptz"]
_BOM = b"\xef\xbb\xbf"
_PARSED_AT_ONCE = 1 << 30
_CONVERSION = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([a-z0-9]+)")
_ROW = re.compile(r"Row #(\d+)")


class CsvParser:
    """Knows the columns of a CSV stream, of which *head* is the first block.

    Raise `SourceError` when there is no header, or one that names a column twice.
    """

    def __init__(
        self, head: bytes, delimiter: str, null_values: Sequence[str], types: Mapping[str, ColumnType]
    ) -> None:
        self._delimiter = delimiter
        self._null_values = list(null_values)
        self._types = types
        self._is_all = len(head) < BLOCK_BYTES
        self.header_bytes = self._header_end(head)
        self.names = self._column_names(head[: self.header_bytes])
        self.beyond_header = head[self.header_bytes :]

    def stated_types(self) -> dict[str, Any]:
        """The Arrow types that the config gives. Raise `SourceError` for a column that is not there."""
        pa = library("pyarrow")
        known: dict[ColumnType, Any] = {
            "boolean": pa.bool_(),
            "date": pa.date32(),
            "integer": pa.int64(),
            "number": pa.float64(),
            "string": pa.string(),
            "timestamp": pa.timestamp("us"),
            "timestamptz": pa.timestamp("us", "UTC"),
        }
        absent = [name for name in self._types if name not in self.names]
        if absent:
            raise SourceError(f"'types' names {', '.join(absent)}; the columns are: {', '.join(self.names)}")
        return {name: known[kind] for name, kind in self._types.items()}

    def found_types(self) -> dict[str, Any]:
        """The type of every column: as stated, else as the whole records of the first block look."""
        pa = library("pyarrow")
        stated = self.stated_types()
        sample = self.beyond_header
        if self._is_all and sample and not sample.endswith(b"\n"):
            sample += b"\n"
        ends = record_ends(sample, self._delimiter.encode())
        if not len(ends):
            return {name: stated.get(name, pa.string()) for name in self.names}
        schema = self.table(sample[: int(ends[-1]) + 1], stated, 0).schema
        return {column.name: column.type for column in schema}

    def table(self, data: bytes | memoryview, types: Mapping[str, Any], first: int) -> Any:
        """*data*, whole records of which the first is number *first*, as a table; types not given are found out.

        Raise `SourceError` naming row and column where a row has too many or too few fields, or a value
        is not of its column's type.
        """
        pa, arrow_csv = library("pyarrow"), library("pyarrow.csv")
        if not len(data):
            schema = [(name, types.get(name, pa.string())) for name in self.names]
            return pa.schema(schema).empty_table()
        ragged: list[tuple[int, int]] = []

        def remember(row: Any) -> str:
            ragged.append((row.number, row.actual_columns))
            return "skip"

        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                read_options=arrow_csv.ReadOptions(
                    use_threads=False, column_names=self.names, block_size=min(len(data) + 1, _PARSED_AT_ONCE)
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=remember
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=types, null_values=self._null_values, strings_can_be_null=True
                ),
            )
        except pa.ArrowInvalid as error:
            raise self._said_anew(str(error), first) from None
        if ragged:
            row, fields = ragged[0]
            raise SourceError(f"row {first + row}: {fields} fields where the header has {len(self.names)}")
        return self._settled(table)

    def _settled(self, table: Any) -> Any:
        """*table* with text where a column has no value at all. Raise `SourceError` for bytes that are no text."""
        pa = library("pyarrow")
        for index, column in enumerate(table.schema):
            if pa.types.is_binary(column.type):
                raise SourceError(f"column {column.name!r} is not UTF-8; set 'encoding', for instance to latin-1")
            if pa.types.is_null(column.type):
                table = table.set_column(index, column.name, table.column(index).cast(pa.string()))
        return table

    def _said_anew(self, message: str, first: int) -> SourceError:
        found = _CONVERSION.search(message)
        if found is None:
            row = _ROW.search(message)
            return SourceError(f"row {first + int(row[1])}: is no CSV" if row else "is no CSV")
        column, row_number, kind = self.names[int(found[1])], found[2], found[3]
        place = f"row {first + int(row_number)}, " if row_number else ""
        if "invalid UTF8" in message:
            return SourceError(f"{place}column {column!r} is not UTF-8; set 'encoding', for instance to latin-1")
        return SourceError(
            f"{place}column {column!r}: a value is no {kind}, as the column's first ones are; "
            f"say what the column is with 'types', for instance {{{column}: string}}"
        )

    def _header_end(self, head: bytes) -> int:
        if not head.removeprefix(_BOM).strip():
            raise SourceError("is empty: not even a header")
        ends = record_ends(head, self._delimiter.encode())
        if len(ends):
            return int(ends[0]) + 1
        if not self._is_all:
            raise SourceError(f"the header is longer than {BLOCK_BYTES >> 20} MiB; is it CSV?")
        return len(head)

    def _column_names(self, header: bytes) -> list[str]:
        try:
            text = header.removeprefix(_BOM).decode()
        except UnicodeDecodeError:
            raise SourceError("the header is not UTF-8; set 'encoding', for instance to latin-1") from None
        try:
            fields = next(csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter), list[str]())
        except csv.Error:
            raise SourceError("the header is no CSV") from None
        names = [name or f"column_{number}" for number, name in enumerate(fields, 1)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(f"the header names a column twice: {', '.join(twice)}")
        return names
