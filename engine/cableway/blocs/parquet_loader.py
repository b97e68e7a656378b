"""``parquet_loader``: Parquet files as Arrow tables, whole or in batches that end with their row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, MinLen

from cableway.blocs.file_loader import FileLoaderBloc, Piece
from cableway.blocs.file_parts import OpenPart
from cableway.blocs.incremental import Incremental
from cableway.blocs.tables import library
from cableway.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetLoaderConfig:
    """What to read."""

    file_path: Annotated[str, MinLen(1)]
    """The file, or a pattern (``data/**/*.parquet``) whose files are read in sorted order. A relative path starts at
    ``CABLEWAY_FILE_ROOT``, else at the job's working directory."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows in an item, fewer at the end of a row group; unset: one item holds everything."""
    columns: list[str] | None = None
    """Which columns to read, in this order; unset: all."""
    incremental: Incremental | None = None
    """Load only rows that are new since the last run. The files are read all the same, those that have come since
    included."""


class ParquetLoaderBloc(FileLoaderBloc):
    """The byte in a position is where the row group begins; `file_loader` has the rest."""

    bloc_type = "parquet_loader"
    summary = "Loads Parquet files, whole or in batches, and of them the columns that are wanted."
    Config = ParquetLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {"file_path": "trips/*.parquet", "batch_size": 50000}

    config: ParquetLoaderConfig

    def __init__(self, name: str, config: ParquetLoaderConfig) -> None:
        super().__init__(name, config)
        self._names: list[str] | None = None

    def pieces(self, opened: OpenPart, record: int, offset: int, rows: int) -> Iterator[Piece]:
        """One row group after the other."""
        file = self._opened(opened)
        names = self._columns_of(file)
        first = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            begin, first = first, first + group.num_rows
            if first <= record:
                continue
            for batch in file.iter_batches(batch_size=rows, row_groups=[number], columns=names, use_threads=False):
                if begin >= record:
                    table = library("pyarrow").Table.from_batches([batch]).select(names)
                    yield Piece(begin, _begin_of(group), table)
                begin += batch.num_rows

    def whole(self, opened: OpenPart) -> Piece:
        """All row groups."""
        file = self._opened(opened)
        names = self._columns_of(file)
        return Piece(0, 0, file.read(columns=names, use_threads=False).select(names))

    def _opened(self, opened: OpenPart) -> Any:
        pa, parquet = library("pyarrow"), library("pyarrow.parquet")
        try:
            return parquet.ParquetFile(opened.stream, pre_buffer=False)
        except (pa.ArrowException, ValueError):
            raise SourceError("is no whole Parquet file") from None

    def _columns_of(self, file: Any) -> list[str]:
        """What to read: as configured, else the columns of the first file, which all must have."""
        there: list[str] = file.schema_arrow.names
        wanted = self.config.columns or self._names or there
        self._names = list(wanted)
        absent = [name for name in wanted if name not in there]
        if absent:
            raise SourceError(f"has no column {', '.join(map(repr, absent))}; it has: {', '.join(map(repr, there))}")
        if self.config.columns is None and len(there) != len(wanted):
            more = [name for name in there if name not in wanted]
            raise SourceError(f"has columns that the first file lacks: {', '.join(map(repr, more))}; choose 'columns'")
        return self._names


def _begin_of(group: Any) -> int:
    chunks = [group.column(number) for number in range(group.num_columns)]
    begins = [min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset) for chunk in chunks]
    return int(min(begins))
