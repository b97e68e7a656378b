"""``jsonl_exporter``: rows as lines of JSON in a file, or in one for each item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cableway.blocs.file_exporter import Compression, FileExporter, FileExporterConfig, UnfitError, compression_of
from cableway.blocs.http.message import json_body
from cableway.blocs.tables import library

if TYPE_CHECKING:
    from typing import BinaryIO

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlExporterConfig(FileExporterConfig):
    """Where the file is, and how it is written."""

    compression: Compression = "auto"
    """``auto`` goes by the path's end: ``.gz`` or ``.zst``."""


class JsonlExporterBloc(FileExporter):
    """One object a row: times as ISO 8601, exact numbers and ids as text, bytes in base64. Columns may come and go."""

    bloc_type = "jsonl_exporter"
    summary = "Writes rows as lines of JSON to a file, which is there whole or not at all."
    Config = JsonlExporterConfig
    example: ClassVar[Mapping[str, Any]] = {"file_path": "out/flights.jsonl.gz", "source_bloc": "clean"}

    config: JsonlExporterConfig

    def encoder(self, file: BinaryIO) -> JsonlEncoder:
        """JSON Lines, compressed where the config or the path says so."""
        return JsonlEncoder(file, compression_of(self.config.file_path, self.config.compression), self.name)


class JsonlEncoder:
    """Tables as JSON Lines to *file*."""

    def __init__(self, file: BinaryIO, compression: str | None, name: str) -> None:
        pa = library("pyarrow")
        self._name = name
        self._packed = (
            None if compression is None else pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), compression)
        )
        self._write: Any = file.write if self._packed is None else self._packed.write

    def write(self, table: Any) -> None:
        """Append the rows. Raise `UnfitError` where a value cannot be said in JSON; then none of them is written."""
        pieces: list[bytes] = []
        for start in range(0, table.num_rows, _ROWS_AT_ONCE):
            rows: list[Any] = table.slice(start, _ROWS_AT_ONCE).to_pylist()
            try:
                pieces.append(b"".join(json_body(row) + b"\n" for row in rows))
            except (TypeError, ValueError):
                raise UnfitError(f"bloc {self._name!r}: a value cannot be said in JSON: {_unsayable(rows)}") from None
        for piece in pieces:
            self._write(piece)

    def finish(self) -> None:
        """Write the end of a compressed stream."""
        if self._packed is not None:
            self._packed.close()

    def give_up(self) -> None:
        """Nothing is held."""


def _unsayable(rows: list[dict[str, Any]]) -> str:
    """The first column with such a value."""
    for row in rows:
        for column, value in row.items():
            try:
                json_body(value)
            except (TypeError, ValueError):
                return f"column {column!r}"
    return "a row"
