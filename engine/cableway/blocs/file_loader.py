"""
What the loaders of files have in common: parts in order, positions, and rows that cannot be read.

A position is ``<part>:<record>:<byte>``, all counted from 0: the part in the sorted list, the record
that the item begins with, and the byte of that part's unpacked content. A row that goes no further
is named after its item and its place in it: ``<part>:<record>:<byte>:<row>``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any, BinaryIO, ClassVar, Literal

from cableway.blocs.column_types import type_fault
from cableway.blocs.file_parts import ByteStream, FileParts, OpenPart, Part
from cableway.blocs.files import is_pattern, path_fault
from cableway.blocs.incremental import Watermark, first_plan, incremental_of, reached_together
from cableway.blocs.kinds import Ending, LoaderBloc, Resources
from cableway.blocs.tables import library
from cableway.context import RunContext
from cableway.definition import JsonObject
from cableway.errors import BadRowError, SourceChangedError, SourceError
from cableway.items import Rejected
from cableway.references import is_reference

OnBadRow = Literal["fail", "skip", "dead_letter"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that cannot be read: its number in its part from 0, why, and its text."""

    record: int
    reason: str
    column: str | None
    text: str

    def error(self, where: str) -> BadRowError:
        """As the error that a dead letter has."""
        return BadRowError(self.reason, where=where, row=self.record + 1, column=self.column)

    def __str__(self) -> str:
        column = "" if self.column is None else f", column {self.column!r}"
        return f"row {self.record + 1}{column}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Piece:
    """What an item holds, where its part stood before it, and the rows that were left out of it."""

    record: int
    offset: int
    table: Any
    bad: Sequence[BadRow] = field(default_factory=tuple[BadRow, ...])


class FileLoaderBloc(LoaderBloc):
    """Loads files, whole or in batches. Not a bloc type: what a file holds is its subclasses' business.

    Their config has ``file_path``, ``batch_size``, ``columns`` and ``incremental``, and, where rows can be bad one by
    one, ``on_bad_row``.
    """

    lanes = ("thread",)
    repeatable = True
    needs: ClassVar[tuple[str, ...]] = ("pyarrow",)
    """Libraries that must be there."""

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._root: str | None = None
        self._parts: FileParts | None = None
        self._start = _Place(0, 0, 0)
        self._wanted: str | None = None
        self._first: Part | None = None
        self._incremental = incremental_of(config)
        self._watermark: Watermark | None = None
        self._lock = threading.Lock()

    @classmethod
    def faults(cls, config: Any) -> Iterable[tuple[str, str]]:
        """A path that leads nowhere good, dead letters for rows of items that there are not, an unread cursor field."""
        if not is_reference(config.file_path) and (reason := path_fault(config.file_path)):
            yield "file_path", reason
        if getattr(config, "on_bad_row", None) == "dead_letter" and config.batch_size is None:
            yield "on_bad_row", "can be dead_letter only with 'batch_size'; without it choose fail or skip"
        incremental = incremental_of(config)
        if incremental is not None:
            yield from incremental.faults()
            if config.columns is not None and incremental.cursor_field not in config.columns:
                yield "columns", f"lack {incremental.cursor_field!r}, the cursor field of 'incremental'"

    def pieces(self, opened: OpenPart, record: int, offset: int, rows: int) -> Iterator[Piece]:
        """What *opened* holds from *record* at *offset* on, *rows* in a piece; 0 and 0 is its beginning."""
        raise NotImplementedError

    def whole(self, opened: OpenPart) -> Piece:
        """All that *opened* holds."""
        raise NotImplementedError

    def view(self, stream: BinaryIO) -> ByteStream:
        """The bytes of a part's *stream* in which positions count."""
        return stream

    def bind(self, resources: Resources) -> None:
        """Stay below the job's root."""
        self._root = resources.root

    def open(self, context: RunContext) -> None:
        """Raise `DefinitionError` where a library is not installed, and `SourceError` where no file is there."""
        for name in self.needs:
            library(name)
        self._parts = FileParts(self.config.file_path, self._root, self.view)
        if not is_pattern(self.config.file_path):
            _ = self._parts.parts

    def close(self, ending: Ending) -> None:
        """Let go of the file that `fingerprint` reads along."""
        if self._parts is not None:
            self._parts.let_go()

    def load(self, context: RunContext) -> Any:
        """An Arrow table, or with ``batch_size`` an iterator of positions with tables.

        Raise `SourceError` naming file, row and column where something cannot be read.
        """
        if self._incremental is not None and self._watermark is None:
            self._watermark = Watermark(self._incremental, {}, {})
        if self.config.batch_size is None:
            return self._new(self._all(context))
        items = self._items(context, self.config.batch_size)
        if self._wanted is None:
            return items
        return dropwhile(lambda item: item[0] != self._wanted, items)

    def plan(self, context: RunContext, state: Mapping[str, Any]) -> JsonObject:
        """The files as they are now, and with ``incremental`` what there was before."""
        plan: JsonObject = {"files": [part.as_json() for part in self.parts.parts]}
        if self._incremental is not None:
            plan |= first_plan(self._incremental, state)
        return plan

    @classmethod
    def divides(cls, config: Any) -> bool:
        """File by file, with ``batch_size``."""
        return config.batch_size is not None

    def shares(self, context: RunContext, parts: int, state: Mapping[str, Any]) -> list[JsonObject]:
        """Whole files, shared out by size; all go by the types and columns of the first one."""
        files = self.parts.parts
        sizes, chosen = [0] * parts, [list[int]() for _ in range(parts)]
        for number in sorted(range(len(files)), key=lambda number: -files[number].size):
            least = sizes.index(min(sizes))
            sizes[least] += files[number].size
            chosen[least].append(number)
        first = files[0].as_json() if files else None
        plan = {"first": first} | ({} if self._incremental is None else first_plan(self._incremental, state))
        return [{"files": [files[number].as_json() for number in sorted(share)], **plan} for share in chosen]

    def reached_together(self, reached: Sequence[Mapping[str, Any]]) -> JsonObject:
        """The newest of all files."""
        return reached_together(self._incremental, reached)

    def follow(self, plan: Mapping[str, Any], reached: Mapping[str, Any]) -> None:
        """Load the files that *plan* lists. Raise `SourceChangedError` where one has changed."""
        if "files" in plan:
            self.parts.fix(plan["files"])
        if plan.get("first") is not None:
            self._first = Part(**plan["first"])
        if self._incremental is not None:
            self._watermark = Watermark(self._incremental, plan, reached)

    def reached(self) -> JsonObject:
        """How far the rows were new."""
        with self._lock:
            return {} if self._watermark is None else self._watermark.state()

    def fingerprint(self, position: str) -> JsonObject:
        """The part's size and time of change, and a digest of its content before *position*."""
        place = _Place.of(position)
        part = self._part(place.part)
        return {**part.as_json(), "digest": self.parts.digest(part, place.offset)}

    def resume(self, position: str, fingerprint: Mapping[str, Any]) -> None:
        """Begin with the item at *position* if its part is the one that *fingerprint* describes."""
        now = self.fingerprint(position)
        self.parts.let_go()
        if now != dict(fingerprint):
            raise SourceChangedError(
                f"{now['path']} has changed since it was read: then {_words(fingerprint)}, now {_words(now)}"
            )
        self._start, self._wanted = _Place.of(position), position

    def read_from(self, parts: FileParts) -> None:
        """Read *parts* in place of what ``file_path`` means."""
        self._parts = parts

    @property
    def parts(self) -> FileParts:
        """What is read."""
        if self._parts is None:
            self._parts = FileParts(self.config.file_path, self._root, self.view)
        return self._parts

    @property
    def first_part(self) -> Part:
        """The one whose types and columns hold for all: of a run in parts that of the whole run."""
        return self._first or self.parts.parts[0]

    def _part(self, number: int) -> Part:
        parts = self.parts.parts
        if number >= len(parts):
            raise SourceChangedError(f"{self.config.file_path}: the position is in file {number}, of {len(parts)}")
        return parts[number]

    def _items(self, context: RunContext, rows: int) -> Iterator[tuple[str, Any]]:
        start = self._start
        left_out = 0
        for number, part in enumerate(self.parts.parts):
            if number < start.part:
                continue
            record, offset = (start.record, start.offset) if number == start.part else (0, 0)
            with self.parts.file(part) as opened:
                for piece in self.pieces(opened, record, offset, rows):
                    opened.refuse_change()
                    left_out += len(piece.bad)
                    yield from self._items_of(number, part, piece)
                    if self._watermark is not None and self._watermark.exhausted:
                        return self._tell(context, left_out)
        self._tell(context, left_out)

    def _items_of(self, number: int, part: Part, piece: Piece) -> Iterator[tuple[str, Any]]:
        position = f"{number}:{piece.record}:{piece.offset}"
        table = self._new(piece.table)
        if table.num_rows:
            yield position, table
        if piece.bad and self.config.on_bad_row == "dead_letter":
            for row in piece.bad:
                yield f"{position}:{row.record - piece.record}", Rejected(row.error(part.name), {"row": row.text})

    def _all(self, context: RunContext) -> Any:
        tables: list[Any] = []
        left_out = 0
        for part in self.parts.parts:
            with self.parts.file(part) as opened:
                piece = self.whole(opened)
            left_out += len(piece.bad)
            tables.append(piece.table)
        self._tell(context, left_out)
        return joined(tables, self.config.file_path)

    def _new(self, table: Any) -> Any:
        """The rows that no earlier lap has loaded."""
        if self._watermark is None or not table.num_rows:
            return table
        with self._lock:
            return self._watermark.new_table(table)

    def _tell(self, context: RunContext, left_out: int) -> None:
        if left_out:
            context.log.warning("%s: %d rows could not be read and were left out", self.name, left_out)


def type_faults(types: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """What is wrong with the ``types`` of a config."""
    for column, name in types.items():
        if reason := type_fault(name):
            yield f"types/{column.replace('~', '~0').replace('/', '~1')}", reason


def joined(tables: Sequence[Any], path: str) -> Any:
    """*tables* as one, with the columns of all. Raise `SourceError` where a column is of two kinds."""
    pa = library("pyarrow")
    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise SourceError(f"{path}: a column is not of one kind in all files; say what it is with 'types'") from None


@dataclass(frozen=True, slots=True)
class _Place:
    part: int
    record: int
    offset: int

    @classmethod
    def of(cls, position: str) -> _Place:
        """Where the item of *position* begins; of a row left out, the item that it was in."""
        part, record, offset, *_ = position.split(":")
        return cls(int(part), int(record), int(offset))


def _words(fingerprint: Mapping[str, Any]) -> str:
    return f"{fingerprint.get('size')} bytes of {fingerprint.get('mtime_ns')} ns, digest {fingerprint.get('digest')}"
