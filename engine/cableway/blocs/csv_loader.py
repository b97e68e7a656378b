"""``csv_loader``: a CSV file as Arrow tables, whole or in batches, with types found out by looking."""

from __future__ import annotations

import codecs
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Annotated, Any, BinaryIO, ClassVar

from annotated_types import Ge, MinLen

from cableway.blocs.csv_parser import ColumnType, CsvParser
from cableway.blocs.csv_records import BLOCK_BYTES, ByteStream, Joined, Recoded, cuts, read_fully
from cableway.blocs.files import open_regular, path_fault
from cableway.blocs.kinds import Ending, LoaderBloc, Resources
from cableway.blocs.tables import library
from cableway.context import RunContext
from cableway.definition import JsonObject
from cableway.errors import SourceChangedError, SourceError
from cableway.references import is_reference


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvLoaderConfig:
    """What to read, and how it is written."""

    file_path: Annotated[str, MinLen(1)]
    """The file; a relative path starts at the job's working directory."""
    delimiter: str = ","
    """The one character between fields."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows in an item; unset: one item holds the whole file."""
    null_values: list[str] = field(
        default_factory=lambda: ["", "NA", "N/A", "NULL", "null", "NaN", "nan", "None", "<NA>"]
    )
    """Texts that stand for a missing value; unset: no text at all, and NA, N/A, NULL, null, NaN, nan, None, <NA>."""
    types: dict[str, ColumnType] = field(default_factory=dict[str, ColumnType])
    """Types of columns by name; the others are found out, in batches from the first 4 MiB."""
    encoding: str = "utf-8"
    """The file's text encoding, by Python's name."""


class CsvLoaderBloc(LoaderBloc):
    """Loads a CSV file with a header. Positions are ``<file>:<record>:<byte>``, counted from 0 after the header."""

    bloc_type = "csv_loader"
    summary = "Loads a CSV file, whole or in batches, and finds out its types."
    Config = CsvLoaderConfig
    example: ClassVar[Mapping[str, Any]] = {
        "file_path": "data/flights.csv",
        "batch_size": 10000,
        "null_values": ["", "NA"],
    }
    lanes = ("thread",)
    repeatable = True

    config: CsvLoaderConfig

    def __init__(self, name: str, config: CsvLoaderConfig) -> None:
        super().__init__(name, config)
        self._root: str | None = None
        self._start: tuple[int, int] | None = None
        self._trail: _Trail | None = None

    @classmethod
    def faults(cls, config: CsvLoaderConfig) -> Iterable[tuple[str, str]]:
        """A path that leads nowhere good, a delimiter of more than one character, an unknown encoding."""
        if not is_reference(config.file_path) and (reason := path_fault(config.file_path)):
            yield "file_path", reason
        if len(config.delimiter) != 1 or not config.delimiter.isascii() or config.delimiter in '"\r\n\x00':
            yield "delimiter", "must be one ASCII character, and no quote or line end"
        try:
            codecs.lookup(config.encoding)
        except LookupError:
            yield "encoding", "is no encoding that Python knows"

    def bind(self, resources: Resources) -> None:
        """Stay below the job's root."""
        self._root = resources.root

    def open(self, context: RunContext) -> None:
        """Raise `DefinitionError` where pyarrow is not installed, and `SourceError` where the file is not there."""
        library("pyarrow")
        with self._file():
            pass

    def close(self, ending: Ending) -> None:
        """Let go of the file that `fingerprint` reads along."""
        self._let_go()

    def _let_go(self) -> None:
        if self._trail is not None:
            self._trail.close()
            self._trail = None

    def load(self, context: RunContext) -> Any:
        """An Arrow table, or with ``batch_size`` an iterator of positions with tables.

        Raise `SourceError` naming file, row and column where something cannot be read.
        """
        return self._batches(self.config.batch_size) if self.config.batch_size is not None else self._whole()

    def fingerprint(self, position: str) -> JsonObject:
        """Size, time of change, and a digest of all bytes before *position*."""
        _, offset = _place(position)
        with self._file() as file:
            state = os.fstat(file.fileno())
            with self._named():
                digest = self._digest(offset)
        return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "digest": digest}

    def resume(self, position: str, fingerprint: Mapping[str, Any]) -> None:
        """Begin with the item at *position* if the file is the one that *fingerprint* describes."""
        now = self.fingerprint(position)
        self._let_go()
        if now != dict(fingerprint):
            raise SourceChangedError(
                f"{self.config.file_path} has changed since it was read: then {_words(fingerprint)}, now {_words(now)}"
            )
        self._start = _place(position)

    def _whole(self) -> Any:
        with self._file() as file, self._named():
            stream = self._stream(file)
            parser = self._parser(stream)
            rest = b"".join([parser.beyond_header, *iter(lambda: stream.read(BLOCK_BYTES), b"")])
            return parser.table(rest, parser.stated_types(), 0)

    def _batches(self, rows: int) -> Iterator[tuple[str, Any]]:
        with self._file() as file, self._named():
            before = os.fstat(file.fileno())
            stream = self._stream(file)
            parser = self._parser(stream)
            types = parser.found_types()
            record, offset = self._start or (0, parser.header_bytes)
            rest = Joined(parser.beyond_header, stream)
            read_fully(rest, offset - parser.header_bytes)
            for cut in cuts(rest, rows, self.config.delimiter, record=record, offset=offset):
                table = parser.table(cut.data, types, cut.record)
                self._refuse_change(file, before)
                yield f"0:{cut.record}:{cut.offset}", table

    def _parser(self, stream: ByteStream) -> CsvParser:
        config = self.config
        return CsvParser(read_fully(stream, BLOCK_BYTES), config.delimiter, config.null_values, config.types)

    def _refuse_change(self, file: BinaryIO, before: os.stat_result) -> None:
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise SourceChangedError(
                f"changed while it was read: then {before.st_size} bytes, now {now.st_size}; "
                "write to another file and rename it when it is whole"
            )

    @contextmanager
    def _file(self) -> Generator[BinaryIO]:
        with open_regular(self.config.file_path, root=self._root) as file:
            yield file

    @contextmanager
    def _named(self) -> Generator[None]:
        """Begin the message of a `SourceError` with the file."""
        try:
            yield
        except SourceError as error:
            raise type(error)(f"{self.config.file_path}: {error}") from None

    def _stream(self, file: BinaryIO) -> ByteStream:
        if codecs.lookup(self.config.encoding).name in {"utf-8", "ascii", "utf-8-sig"}:
            return file
        return Recoded(file, self.config.encoding)

    def _digest(self, offset: int) -> str:
        """Of the first *offset* bytes; a later offset goes on from where the last one ended."""
        if self._trail is None or self._trail.offset > offset:
            self._let_go()
            file = open_regular(self.config.file_path, root=self._root)
            self._trail = _Trail(file, self._stream(file))
        return self._trail.digest(offset)


class _Trail:
    """The digest of a growing part of a stream."""

    def __init__(self, file: BinaryIO, stream: ByteStream) -> None:
        self.offset = 0
        self._file = file
        self._stream = stream
        self._hash = blake2b(digest_size=16)

    def digest(self, offset: int) -> str:
        """Of everything before *offset*, which is not before the last one."""
        while self.offset < offset and (block := self._stream.read(min(BLOCK_BYTES, offset - self.offset))):
            self._hash.update(block)
            self.offset += len(block)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _place(position: str) -> tuple[int, int]:
    """Record and byte of a position."""
    _, record, offset = position.split(":")
    return int(record), int(offset)


def _words(fingerprint: Mapping[str, Any]) -> str:
    return f"{fingerprint.get('size')} bytes of {fingerprint.get('mtime_ns')} ns, digest {fingerprint.get('digest')}"
