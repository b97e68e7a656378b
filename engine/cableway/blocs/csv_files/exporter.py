"""``csv_exporter``: tabular data into a CSV file, or into one for each item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cableway.blocs.csv_files.records import delimiter_faults
from cableway.blocs.csv_files.rows import CsvRows
from cableway.blocs.file_exporter import Compression, FileExporter, FileExporterConfig, compression_of, same_columns
from cableway.blocs.tables import library

if TYPE_CHECKING:
    from typing import BinaryIO

_BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvExporterConfig(FileExporterConfig):
    """Where the file is, and how it is written."""

    delimiter: str = ","
    """The one character between fields."""
    header: bool = True
    """Whether the first line names the columns."""
    compression: Compression = "auto"
    """``auto`` goes by the path's end: ``.gz`` or ``.zst``."""


class CsvExporterBloc(FileExporter):
    """Texts stand in quotes and a missing value is nothing, so that an empty text and a missing one stay apart."""

    bloc_type = "csv_exporter"
    summary = "Writes tabular data to a CSV file, which is there whole or not at all."
    Config = CsvExporterConfig
    example: ClassVar[Mapping[str, Any]] = {"file_path": "out/flights.csv.gz", "source_bloc": "clean"}

    config: CsvExporterConfig

    @classmethod
    def faults(cls, config: CsvExporterConfig) -> Iterable[tuple[str, str]]:
        """A path that leads nowhere good, or a delimiter of more than one character."""
        yield from super().faults(config)
        yield from delimiter_faults(config.delimiter)

    @classmethod
    def takes_csv(cls, config: CsvExporterConfig) -> bool:
        """With commas."""
        return config.delimiter == ","

    def rows_of(self, value: Any) -> Any:
        """An Arrow table, or the rows as CSV where they came as that."""
        if isinstance(value, CsvRows) and self.takes_csv(self.config):
            return value
        return super().rows_of(value)

    def encoder(self, file: BinaryIO) -> CsvEncoder:
        """CSV, compressed where the config or the path says so."""
        config = self.config
        compression = compression_of(config.file_path, config.compression)
        return CsvEncoder(file, config.delimiter, compression, header=config.header)


class CsvEncoder:
    """Tables as CSV to *file*."""

    def __init__(self, file: BinaryIO, delimiter: str, compression: str | None, *, header: bool) -> None:
        pa, arrow_csv = library("pyarrow"), library("pyarrow.csv")
        self._where = getattr(file, "name", "file")
        sink = pa.PythonFile(file, mode="w")
        self._sink = sink if compression is None else pa.CompressedOutputStream(sink, compression)
        self._compressed = compression is not None
        self._with_header = arrow_csv.WriteOptions(include_header=header, delimiter=delimiter, batch_size=_BATCH_ROWS)
        self._without = arrow_csv.WriteOptions(include_header=False, delimiter=delimiter, batch_size=_BATCH_ROWS)
        self._schema: Any = None

    def write(self, table: Any) -> None:
        """Append the rows; the first ones bring the header. `CsvRows` are written as they are."""
        arrow_csv = library("pyarrow.csv")
        if isinstance(table, CsvRows):
            if self._schema is None:
                self.write(library("pyarrow").Table.from_batches([], table.schema))
            if table.schema.equals(self._schema):
                self._sink.write(table.data)
                return
            table = table.table()
        options = self._without
        if self._schema is None:
            self._schema, options = table.schema, self._with_header
        arrow_csv.write_csv(written(same_columns(table, self._schema, "csv file")), self._sink, options)

    def finish(self) -> None:
        """Write the end of a compressed stream."""
        if self._compressed:
            self._sink.close()

    def give_up(self) -> None:
        """Nothing is held."""


def written(table: Any) -> Any:
    """*table* with what CSV has no form for as text: nested values as JSON, bytes in hexadecimal, UUIDs, spans."""
    from cableway.blocs.postgres.copy_format import fitted

    pa = library("pyarrow")
    rare = [
        name
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if not (pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_decimal(kind))
        or pa.types.is_duration(kind)
    ]
    if not rare:
        return table
    texts = fitted(table.select(rare), {}, "csv file")
    for name in rare:
        table = table.set_column(table.column_names.index(name), name, texts.column(name))
    return table
