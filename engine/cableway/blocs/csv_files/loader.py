"""``csv_loader``: CSV files as Arrow tables, whole or in batches, with types found out by looking."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

from annotated_types import Ge, MinLen

from cableway.blocs.csv_files.parser import CsvForm, CsvParser
from cableway.blocs.csv_files.records import Cut, Cutter, Joined, Marks, Recoded, delimiter_faults, read_fully
from cableway.blocs.file_loader import FileLoaderBloc, OnBadRow, Piece, type_faults
from cableway.blocs.file_parts import BLOCK_BYTES, ByteStream, OpenPart, skip
from cableway.blocs.incremental import Incremental
from cableway.errors import SourceError

_PLAIN = frozenset({"utf-8", "ascii", "utf-8-sig"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvLoaderConfig:
    """What to read, and how it is written."""

    file_path: Annotated[str, MinLen(1)]
    """The file, or a pattern (``data/*.csv``, ``data/**/*.csv``) whose files are read in sorted order. A relative
    path starts at ``CABLEWAY_FILE_ROOT``, else at the job's working directory. gzip and zip are unpacked on the way."""
    delimiter: str = ","
    """The one character between fields."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows in an item, fewer where they make more than 32 MiB; unset: one item holds everything."""
    null_values: list[str] = field(
        default_factory=lambda: ["", "NA", "N/A", "NULL", "null", "NaN", "nan", "None", "<NA>"]
    )
    """Texts that stand for a missing value; unset: no text at all, and NA, N/A, NULL, null, NaN, nan, None, <NA>."""
    types: dict[str, str] = field(default_factory=dict[str, str])
    """Types of columns by name: int64, float64, decimal(p,s), bool, date, timestamp, timestamptz, string. The others
    are found out, in batches from the first 4 MiB."""
    encoding: str = "utf-8"
    """The file's text encoding, by Python's name. A byte order mark is left out."""
    quote: str = '"'
    """The character around fields that hold the delimiter or a line end; empty: quotes mean nothing."""
    escape: str = ""
    """A character that takes the meaning from the next one; empty: there is none, and a quote is doubled."""
    header: bool = True
    """Whether the first line names the columns."""
    column_names: list[str] | None = None
    """Names of the columns, in place of the header's or where there is none; unset: column_1, column_2 and so on."""
    skip_rows: Annotated[int, Ge(0)] = 0
    """Lines to leave out at the beginning of each file."""
    columns: list[str] | None = None
    """Which columns to read, in this order; unset: all."""
    date_formats: list[str] = field(default_factory=list[str])
    """How dates and instants are written, as for strptime, tried in order; unset: ISO 8601."""
    decimal_point: Literal[".", ","] = "."
    """What stands before a number's fraction."""
    on_bad_row: OnBadRow = "fail"
    """A row with too many or too few fields, or a value of another type: the run fails, the row is left out and
    counted, or it becomes a dead letter of its own. The others go on."""
    incremental: Incremental | None = None
    """Load only rows that are new since the last run. The files are read all the same, those that have come since
    included, and of bad rows each run tells again."""


class CsvLoaderBloc(FileLoaderBloc):
    """Loads CSV files; `file_loader` has the positions."""

    bloc_type = "csv_loader"
    summary = "Loads CSV files, whole or in batches, and finds out their types."
    Config = CsvLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {
        "file_path": "data/flights.csv",
        "batch_size": 10000,
        "null_values": ["", "NA"],
    }

    config: CsvLoaderConfig

    def __init__(self, name: str, config: CsvLoaderConfig) -> None:
        super().__init__(name, config)
        self._types: dict[str, Any] | None = None
        self._names: list[str] | None = None

    @classmethod
    def faults(cls, config: CsvLoaderConfig) -> Iterable[tuple[str, str]]:
        """A path that leads nowhere good, marks that are not one character, an unknown encoding or type."""
        yield from super().faults(config)
        yield from _mark_faults(config)
        yield from type_faults(config.types)
        try:
            if not getattr(codecs.lookup(config.encoding), "_is_text_encoding", True):
                yield "encoding", "turns bytes into bytes, and not into text"
        except LookupError:
            yield "encoding", "is no encoding that Python knows"
        if not config.header and config.column_names is None and config.columns:
            yield "columns", "has nothing to choose by: the file has no header; give 'column_names'"

    def view(self, stream: BinaryIO) -> ByteStream:
        """UTF-8, whatever the file is in."""
        if codecs.lookup(self.config.encoding).name in _PLAIN:
            return stream
        return Recoded(stream, self.config.encoding)

    def pieces(self, opened: OpenPart, record: int, offset: int, rows: int) -> Iterator[Piece]:
        """Cut between records, never inside one."""
        stream = self.view(opened.stream)
        parser = self._parser(stream)
        types = self._found_types(parser)
        if not offset:
            offset = parser.header_bytes
        beyond = parser.beyond_header[offset - parser.header_bytes :]
        skip(stream, max(0, offset - parser.header_bytes - len(parser.beyond_header)))
        for cut in Cutter(Joined(beyond, stream), self._marks, record=record, offset=offset).cuts(rows):
            yield self._piece(parser, cut, types)

    def whole(self, opened: OpenPart) -> Piece:
        """Types are found from everything, not from its beginning."""
        stream = self.view(opened.stream)
        parser = self._parser(stream)
        types = parser.stated_types()
        for cut in Cutter(Joined(parser.beyond_header, stream), self._marks).cuts(None):
            opened.refuse_change()
            return self._piece(parser, cut, types)
        return self._piece(parser, Cut(memoryview(b""), 0, 0, (), suspect=False), types)

    def _piece(self, parser: CsvParser, cut: Cut, types: Mapping[str, Any]) -> Piece:
        table, bad = parser.table(cut, types, fails=self.config.on_bad_row == "fail")
        if self._names is not None and table.column_names != self._names:
            table = table.select(self._names)
        return Piece(cut.record, cut.offset, table, bad)

    def _found_types(self, parser: CsvParser) -> dict[str, Any]:
        """Those of the first file hold for all: found there even where reading begins further on."""
        if self._types is None:
            with self.parts.file(self.first_part) as opened:
                found = self._parser(self.view(opened.stream))
                self._types = found.found_types()
                self._names = list(self._types)
        return self._types

    def _parser(self, stream: ByteStream) -> CsvParser:
        parser = CsvParser(read_fully(stream, BLOCK_BYTES), self._form)
        wanted = set(self._names or ())
        if wanted and self.config.columns is None and wanted != set(parser.names):
            raise SourceError(
                f"its columns differ from the first file's: {', '.join(sorted(wanted ^ set(parser.names))[:10])}; "
                "say which ones to read with 'columns'"
            )
        return parser

    @property
    def _marks(self) -> Marks:
        config = self.config
        return Marks(config.delimiter.encode(), config.quote.encode(), config.escape.encode())

    @property
    def _form(self) -> CsvForm:
        config = self.config
        return CsvForm(
            marks=self._marks,
            null_values=config.null_values,
            types=config.types,
            header=config.header,
            column_names=config.column_names,
            skip_rows=config.skip_rows,
            columns=config.columns,
            date_formats=config.date_formats,
            decimal_point=config.decimal_point,
        )


def _mark_faults(config: CsvLoaderConfig) -> Iterable[tuple[str, str]]:
    yield from delimiter_faults(config.delimiter)
    for key, mark in (("quote", config.quote), ("escape", config.escape)):
        if mark and (len(mark) != 1 or not mark.isascii() or mark in f"{config.delimiter}\r\n\x00"):
            yield key, "must be one ASCII character that is no delimiter and no line end, or empty"
    if config.escape and config.escape == config.quote:
        yield "escape", "is the quote, which is doubled without that"
    names = config.column_names
    if names is not None and (len(set(names)) != len(names) or not all(names)):
        yield "column_names", "must differ from each other, and none may be empty"
