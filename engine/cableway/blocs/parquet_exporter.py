"""``parquet_exporter``: tabular data into a Parquet file, or into one for each item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from cableway.blocs.file_exporter import FileExporter, FileExporterConfig, same_columns
from cableway.blocs.tables import library

if TYPE_CHECKING:
    from typing import BinaryIO

_GROUP_BYTES = 16 * 1024 * 1024
_LOOKED_AT_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetExporterConfig(FileExporterConfig):
    """Where the file is, and how it is written."""

    compression: Literal["none", "snappy", "gzip", "zstd"] = "snappy"
    """How columns are compressed; ``zstd`` gives smaller files and takes longer."""
    row_group_rows: Annotated[int, Ge(1)] = 100_000
    """Rows that are written together at most; so many, or 16 MiB, are held in memory."""


class ParquetExporterBloc(FileExporter):
    """Items are joined into row groups as they come; the first one fixes the columns and their types."""

    bloc_type = "parquet_exporter"
    summary = "Writes tabular data to a Parquet file, which is there whole or not at all."
    Config = ParquetExporterConfig
    example: ClassVar[Mapping[str, Any]] = {"file_path": "out/flights.parquet", "source_bloc": "clean"}

    config: ParquetExporterConfig

    def open(self, context: Any) -> None:
        """As the others; what Parquet needs loads before the first item."""
        library("pyarrow.parquet")
        super().open(context)

    def encoder(self, file: BinaryIO) -> ParquetEncoder:
        """Parquet."""
        return ParquetEncoder(file, self.config.compression, self.config.row_group_rows)


class ParquetEncoder:
    """Tables as row groups of about *rows* rows to *file*."""

    def __init__(self, file: BinaryIO, compression: str, rows: int) -> None:
        self._file = file
        self._compression = compression
        self._rows = rows
        self._schema: Any = None
        self._writer: Any = None
        self._held: list[Any] = []

    def write(self, table: Any) -> None:
        """Hold the rows until there are enough of them."""
        if self._schema is None:
            self._schema = table.schema
        self._held.append(same_columns(table, self._schema, "parquet file"))
        if (
            sum(held.num_rows for held in self._held) >= self._rows
            or sum(held.nbytes for held in self._held) >= _GROUP_BYTES
        ):
            self._flush()

    def finish(self) -> None:
        """Write the last rows and the footer; a file without an item has no columns."""
        if self._schema is None:
            self.write(library("pyarrow").table({}))
        self._flush()
        self._writer.close()

    def give_up(self) -> None:
        """Else the writer would write its footer as it goes, to a file that is closed."""
        if self._writer is not None:
            self._writer.is_open = False

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held:
            pa = library("pyarrow")
            group = pa.concat_tables(held)
            if self._writer is None:
                self._writer = self._begun(group)
            self._writer.write_table(group, row_group_size=self._rows)
            del group
            held.clear()
            pa.default_memory_pool().release_unused()  # what encoding took would be kept for the next group

    def _begun(self, group: Any) -> Any:
        return library("pyarrow.parquet").ParquetWriter(
            self._file, self._schema, compression=self._compression, use_dictionary=_repeating(group)
        )


def _repeating(group: Any) -> bool | list[str]:
    """The columns whose values come again and again, by a look at the first rows; all where some are nested.

    A dictionary of values that hardly ever repeat takes most of the time of writing, and gains nothing.
    """
    if any(library("pyarrow").types.is_nested(kind) for kind in group.schema.types):
        return True
    rows = group.slice(0, _LOOKED_AT_ROWS)
    return [name for name, column in zip(rows.column_names, rows.columns, strict=True) if _repeats(column)]


def _repeats(column: Any) -> bool:
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    try:
        return 2 * int(pc.count_distinct(column, mode="all").as_py()) <= len(column)
    except pa.ArrowNotImplementedError:
        return not pa.types.is_null(column.type)  # of kinds as rare as that, Arrow's own default
