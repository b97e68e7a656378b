"""CSV text made an Arrow table; what Arrow says about a bad row is said anew, without the value."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cableway.blocs.column_types import arrow_type
from cableway.blocs.csv_files.records import Cut, Marks, record_ends
from cableway.blocs.file_loader import BadRow
from cableway.blocs.file_parts import BLOCK_BYTES
from cableway.blocs.tables import library
from cableway.errors import SourceError

_BOM = b"\xef\xbb\xbf"
_PARSED_AT_ONCE = 1 << 30
_CONVERSION = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to ([a-z0-9]+)")
_FIELDS = re.compile(r"Expected (\d+) columns, got (\d+)")
_NO_UTF8 = "is not UTF-8; set 'encoding', for instance to latin-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvForm:
    """How a CSV file is written, and what is wanted of it."""

    marks: Marks
    null_values: Sequence[str]
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    header: bool = True
    column_names: Sequence[str] | None = None
    skip_rows: int = 0
    columns: Sequence[str] | None = None
    date_formats: Sequence[str] = ()
    decimal_point: str = "."


class UnreadableError(Exception):
    """Arrow refused; the message is Arrow's, and may hold a value."""


class CsvParser:
    """Knows the columns of a CSV stream, of which *head* is the first block.

    Raise `SourceError` when there is no header where one should be, or one that names a column twice.
    """

    def __init__(self, head: bytes, form: CsvForm) -> None:
        self._form = form
        self._is_all = len(head) < BLOCK_BYTES
        begin = self._first_line(head)
        self.header_bytes = self._line_end(head, begin) if form.header else begin
        self.names = self._names(head[begin : self._line_end(head, begin)])
        self.beyond_header = head[self.header_bytes :]
        self._wanted = self._columns_wanted()

    def stated_types(self) -> dict[str, Any]:
        """The Arrow types that the config gives. Raise `SourceError` for a column that is not there."""
        types = self._form.types
        absent = [name for name in types if name not in self.names]
        if absent:
            raise SourceError(f"'types' names {', '.join(absent)}; the columns are: {', '.join(self.names)}")
        return {name: arrow_type(kind) for name, kind in types.items() if name in self._wanted}

    def found_types(self) -> dict[str, Any]:
        """The type of every column: as stated, else as those records of the first block look that can be read."""
        pa = library("pyarrow")
        stated = self.stated_types()
        sample = self.beyond_header
        if self._is_all and sample and not sample.endswith(b"\n"):
            sample += b"\n"
        ends = record_ends(sample, self._form.marks) + 1
        if not len(ends):
            return {name: stated.get(name, pa.string()) for name in self._wanted}
        cut = Cut(memoryview(sample)[: int(ends[-1])], 0, 0, ends, b"\0" in sample)
        schema = self.table(cut, stated)[0].schema
        return {column.name: stated.get(column.name, column.type) for column in schema}

    def table(self, cut: Cut, types: Mapping[str, Any], *, fails: bool = False) -> tuple[Any, list[BadRow]]:
        """The records of *cut* as a table, and those that cannot be read; types not given are found out.

        With *fails* raise `SourceError` naming row and column of the first that cannot.
        """
        try:
            if not cut.suspect or b"\0" not in bytes(cut.data):
                return self._parsed(cut.data, types), []
        except UnreadableError:
            pass
        pa = library("pyarrow")
        known = {name: types.get(name, pa.string()) for name in self._wanted}
        bad: list[BadRow] = []
        for row in self._bad_rows(cut, known):
            if fails:
                raise SourceError(str(row))
            bad.append(row)
        try:
            return self._parsed(_without(cut, bad), types), bad
        except UnreadableError as error:
            raise SourceError(self._said_anew(str(error))[0]) from None

    def _bad_rows(self, cut: Cut, types: Mapping[str, Any]) -> Iterator[BadRow]:
        """By halves, so that a few bad rows among many good ones are found quickly."""
        starts = [0, *map(int, cut.ends)]
        waiting = [(0, len(starts) - 1)]
        while waiting:
            low, high = waiting.pop()
            data = cut.data[starts[low] : starts[high]]
            try:
                if not cut.suspect or b"\0" not in bytes(data):
                    self._parsed(data, types)
                    continue
                reason, column = "holds a NUL byte; is it UTF-16? then set 'encoding'", None
            except UnreadableError as error:
                reason, column = self._said_anew(str(error))
            if high - low > 1:
                middle = (low + high) // 2
                waiting += [(middle, high), (low, middle)]
            else:
                text = bytes(data).decode("utf-8", "replace").rstrip("\r\n")
                yield BadRow(cut.record + low, reason, column, text)

    def _parsed(self, data: bytes | memoryview, types: Mapping[str, Any]) -> Any:
        pa, arrow_csv = library("pyarrow"), library("pyarrow.csv")
        if not len(data):
            return pa.schema([(name, types.get(name, pa.string())) for name in self._wanted]).empty_table()
        marks, form = self._form.marks, self._form
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                read_options=arrow_csv.ReadOptions(
                    use_threads=False, column_names=self.names, block_size=min(len(data) + 1, _PARSED_AT_ONCE)
                ),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=marks.delimiter.decode(),
                    quote_char=marks.quote.decode() or False,
                    escape_char=marks.escape.decode() or False,
                    newlines_in_values=True,
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=self._read_types(types),
                    include_columns=None if form.columns is None else list(form.columns),
                    null_values=list(form.null_values),
                    strings_can_be_null=True,
                    timestamp_parsers=list(form.date_formats) or None,
                    decimal_point=form.decimal_point,
                ),
            )
            return self._settled(table, types)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UnreadableError(str(error)) from None

    def _read_types(self, types: Mapping[str, Any]) -> dict[str, Any]:
        """Dates that are written in a way of their own are read as instants first."""
        pa = library("pyarrow")
        if not self._form.date_formats:
            return dict(types)
        return {name: pa.timestamp("s") if pa.types.is_date(kind) else kind for name, kind in types.items()}

    def _settled(self, table: Any, types: Mapping[str, Any]) -> Any:
        """*table* with text where a column has no value at all, and with dates that are dates."""
        pa = library("pyarrow")
        for index, column in enumerate(table.schema):
            if pa.types.is_binary(column.type):
                raise UnreadableError(
                    f"In CSV column #{self.names.index(column.name)}: CSV conversion error to string: invalid UTF8"
                )
            wanted = types.get(column.name, pa.string() if pa.types.is_null(column.type) else column.type)
            if column.type != wanted:
                table = table.set_column(index, column.name, table.column(index).cast(wanted))
        return table

    def _said_anew(self, message: str) -> tuple[str, str | None]:
        """What is wrong, and with which column."""
        fields = _FIELDS.search(message)
        if fields is not None:
            return f"{fields[2]} fields where the header has {fields[1]}", None
        found = _CONVERSION.search(message)
        if found is None:
            return "is no CSV", None
        column, kind = self.names[int(found[1])], found[2]
        if "invalid UTF8" in message:
            return _NO_UTF8, column
        advice = f"say what the column is with 'types', for instance {{{column}: string}}"
        return f"a value is no {kind}, as the column's others are; {advice}", column

    def _first_line(self, head: bytes) -> int:
        """Where the header, or without one the first record, begins."""
        if not head.removeprefix(_BOM).strip():
            raise SourceError("is empty: not even a header" if self._form.header else "is empty")
        begin = len(_BOM) if head.startswith(_BOM) else 0
        for _ in range(self._form.skip_rows):
            end = head.find(b"\n", begin)
            if end < 0:
                raise SourceError(f"has fewer than the {self._form.skip_rows} lines that 'skip_rows' leaves out")
            begin = end + 1
        return begin

    def _line_end(self, head: bytes, begin: int) -> int:
        ends = record_ends(head[begin:], self._form.marks)
        if len(ends):
            return begin + int(ends[0]) + 1
        if not self._is_all:
            raise SourceError(f"the header is longer than {BLOCK_BYTES >> 20} MiB; is it CSV?")
        return len(head)

    def _names(self, line: bytes) -> list[str]:
        given, fields = self._form.column_names, self._fields(line)
        if given is not None:
            if len(given) != len(fields):
                raise SourceError(f"'column_names' has {len(given)} names, and the first line {len(fields)} fields")
            return list(given)
        names = [(name if self._form.header else "") or f"column_{number}" for number, name in enumerate(fields, 1)]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise SourceError(f"the header names a column twice: {', '.join(twice[:10])}")
        return names

    def _fields(self, line: bytes) -> list[str]:
        if b"\0" in line:
            raise SourceError("the header holds NUL bytes; is it UTF-16? then set 'encoding'")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise SourceError(f"the header {_NO_UTF8}") from None
        marks = self._form.marks
        try:
            rows = list(
                csv.reader(
                    io.StringIO(text, newline=""),
                    delimiter=marks.delimiter.decode(),
                    quotechar=marks.quote.decode() or None,
                    quoting=csv.QUOTE_MINIMAL if marks.quote else csv.QUOTE_NONE,
                    escapechar=marks.escape.decode() or None,
                )
            )
        except csv.Error:
            raise SourceError("the header is no CSV") from None
        if len(rows) > 1:
            raise SourceError("its lines end in a return alone, as on very old systems; convert them to newlines")
        return rows[0] if rows else []

    def _columns_wanted(self) -> list[str]:
        wanted = self._form.columns
        if wanted is None:
            return self.names
        absent = [name for name in wanted if name not in self.names]
        if absent:
            raise SourceError(f"'columns' names {', '.join(absent)}; the columns are: {', '.join(self.names)}")
        return list(wanted)


def _without(cut: Cut, bad: Sequence[BadRow]) -> bytes | memoryview:
    """The bytes of *cut* without the *bad* records, which are in order."""
    if not bad:
        return cut.data
    starts = [0, *map(int, cut.ends)]
    kept: list[memoryview] = []
    begin = 0
    for row in bad:
        number = row.record - cut.record
        kept.append(cut.data[starts[begin] : starts[number]])
        begin = number + 1
    kept.append(cut.data[starts[begin] :])
    return b"".join(kept)
