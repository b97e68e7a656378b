"""``jsonl_loader``: files with a JSON object on each line, as Arrow tables, whole or in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, MinLen

from cableway.blocs.column_types import arrow_type
from cableway.blocs.csv_files.records import Cut, Cutter, Joined, Marks, read_fully
from cableway.blocs.file_loader import FileLoaderBloc, OnBadRow, Piece, type_faults
from cableway.blocs.file_parts import BLOCK_BYTES, OpenPart, skip
from cableway.blocs.incremental import Incremental
from cableway.blocs.json_rows import json_table

_LINES = Marks(delimiter=b"", quote=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlLoaderConfig:
    """What to read."""

    file_path: Annotated[str, MinLen(1)]
    """The file, or a pattern (``data/*.jsonl``) whose files are read in sorted order; gzip and zip are unpacked on
    the way. A relative path starts at ``CABLEWAY_FILE_ROOT``, else at the job's working directory."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Lines in an item, fewer where they make more than 32 MiB; unset: one item holds everything."""
    types: dict[str, str] = field(default_factory=dict[str, str])
    """Types of columns by key: int64, float64, decimal(p,s), bool, date, timestamp, timestamptz, string. The others
    are found out, in batches from the first 4 MiB; a key that comes later is found out where it comes."""
    columns: list[str] | None = None
    """Which keys to read, in this order; unset: all."""
    on_bad_row: OnBadRow = "fail"
    """A line that is no JSON object, or a value of another type: the run fails, the line is left out and counted,
    or it becomes a dead letter of its own. The others go on."""
    incremental: Incremental | None = None
    """Load only rows that are new since the last run. The files are read all the same, those that have come since
    included, and of bad rows each run tells again."""


class JsonlLoaderBloc(FileLoaderBloc):
    """A key is a column, a missing one null, and what is nested is JSON text; `file_loader` has the positions."""

    bloc_type = "jsonl_loader"
    summary = "Loads files with a JSON object on each line, whole or in batches."
    Config = JsonlLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {"file_path": "events/*.jsonl.gz", "batch_size": 10000}

    config: JsonlLoaderConfig

    def __init__(self, name: str, config: JsonlLoaderConfig) -> None:
        super().__init__(name, config)
        self._types: dict[str, Any] | None = None

    @classmethod
    def faults(cls, config: JsonlLoaderConfig) -> Iterable[tuple[str, str]]:
        """A path that leads nowhere good, an unknown type."""
        yield from super().faults(config)
        yield from type_faults(config.types)

    def pieces(self, opened: OpenPart, record: int, offset: int, rows: int) -> Iterator[Piece]:
        """Cut between lines."""
        types = self._found_types()
        skip(opened.stream, offset)
        for cut in Cutter(opened.stream, _LINES, record=record, offset=offset).cuts(rows):
            yield self._piece(cut, types)

    def whole(self, opened: OpenPart) -> Piece:
        """Types are found from everything, not from its beginning."""
        types = self._stated_types()
        for cut in Cutter(opened.stream, _LINES).cuts(None):
            return self._piece(cut, types)
        return self._piece(Cut(memoryview(b""), 0, 0, (), suspect=False), types)

    def _piece(self, cut: Cut, types: Mapping[str, Any]) -> Piece:
        fails = self.config.on_bad_row == "fail"
        table, bad = json_table(cut, types, columns=self.config.columns, fails=fails)
        return Piece(cut.record, cut.offset, table, bad)

    def _stated_types(self) -> dict[str, Any]:
        return {name: arrow_type(kind) for name, kind in self.config.types.items()}

    def _found_types(self) -> dict[str, Any]:
        """Those of the first file hold for all: found there even where reading begins further on."""
        if self._types is None:
            self._types = self._stated_types()
            with self.parts.file(self.first_part) as opened:
                head = read_fully(opened.stream, BLOCK_BYTES)
            whole_lines = head if len(head) < BLOCK_BYTES else head[: head.rfind(b"\n") + 1]
            for cut in Cutter(Joined(whole_lines, _NOTHING), _LINES).cuts(None):
                table, _ = json_table(cut, self._types)
                self._types = {column.name: column.type for column in table.schema}
        return self._types


class _Nothing:
    def read(self, size: int, /) -> bytes:
        return b""


_NOTHING = _Nothing()
