"""Where the records of a CSV stream end, so that it is cut between them and never inside one."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cableway.blocs.file_parts import BLOCK_BYTES, ByteStream
from cableway.blocs.tables import library
from cableway.errors import SourceError

MAX_RECORD_BYTES = 64 * 1024 * 1024
MAX_PIECE_BYTES = 32 * 1024 * 1024
"""Bytes after which a piece ends, however few its records are."""
_NEWLINE, _RETURN = 10, 13


@dataclass(frozen=True, slots=True)
class Marks:
    """The bytes that have a meaning; none where that meaning is switched off."""

    delimiter: bytes
    quote: bytes = b'"'
    escape: bytes = b""


def delimiter_faults(delimiter: str) -> Iterator[tuple[str, str]]:
    """What is wrong with it, as a bloc's ``faults`` says it."""
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\x00':
        yield "delimiter", "must be one ASCII character, and no quote or line end"


class Recoded:
    """A file in another encoding, read as UTF-8."""

    def __init__(self, file: ByteStream, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes. Raise `SourceError` where the bytes are not of the encoding."""
        while not self._left:
            block = self._file.read(size)
            try:
                self._left = self._decoder.decode(block, final=not block).encode()
            except UnicodeError:
                raise SourceError(f"is not {self._encoding}; set 'encoding' to what it is") from None
            if not block:
                break
        given, self._left = self._left[:size], self._left[size:]
        return given


class Joined:
    """Bytes that were read already, and then the stream that they came from."""

    def __init__(self, head: bytes, stream: ByteStream) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes; none at the end."""
        if self._head:
            given, self._head = self._head[:size], self._head[size:]
            return given
        return self._stream.read(size)


def read_fully(stream: ByteStream, size: int) -> bytes:
    """*size* bytes, fewer only where the stream ends."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Cut:
    """Whole records that lie together: the number of the first one, and the byte that it begins at."""

    data: memoryview
    record: int
    offset: int
    ends: Any
    """Where each record ends in *data*, its line end included."""
    suspect: bool
    """There may be a NUL byte in it."""


class Cutter:
    """Cuts a stream between its records; *record* and *offset* are where it stands, at a record's beginning.

    Memory: about twice the bytes of a piece, and two blocks. Raise `SourceError` at a record that does not end.
    """

    def __init__(self, stream: ByteStream, marks: Marks, *, record: int = 0, offset: int = 0) -> None:
        self._stream = stream
        self._marks = marks
        self._record = record
        self._offset = offset

    def cuts(self, records: int | None) -> Iterator[Cut]:
        """*records* in each, fewer where they are large and at the end; None: one cut with all."""
        kept = b""
        known = library("numpy").empty(0, "int64")  # where whole records end in what is kept
        while True:
            block = self._stream.read(max(BLOCK_BYTES, len(kept)))
            buffer = kept + block
            if not block and buffer and not buffer.endswith(b"\n"):
                buffer += b"\n"
            ends = self._ends(buffer, known)
            start = used = 0
            suspect = b"\0" in buffer
            while count := _ripe(ends[used:], start, len(buffer), records):
                yield self._cut(buffer, start, ends[used : used + count], suspect=suspect)
                start, used = int(ends[used + count - 1]), used + count
            kept, known = buffer[start:], ends[used:] - start
            if not block:
                break
            if not len(known) and len(kept) > MAX_RECORD_BYTES:
                raise SourceError(
                    f"row {self._record + 1} is longer than {MAX_RECORD_BYTES >> 20} MiB; is a quote left open?"
                )
        yield from self._last(kept, known, suspect=suspect)

    def _ends(self, buffer: bytes, known: Any) -> Any:
        """Where records end in *buffer*, of which those up to the last *known* end were found before."""
        done = int(known[-1]) if len(known) else 0
        found = record_ends(buffer[done:], self._marks) + (1 + done)
        return library("numpy").concatenate((known, found)) if len(known) else found

    def _last(self, kept: bytes, ends: Any, *, suspect: bool) -> Iterator[Cut]:
        if kept and (not len(ends) or int(ends[-1]) != len(kept)):
            raise SourceError(f"row {self._record + len(ends) + 1}: a quoted field is not closed before the file ends")
        if kept:
            yield self._cut(kept, 0, ends, suspect=suspect)

    def _cut(self, buffer: bytes, start: int, ends: Any, *, suspect: bool) -> Cut:
        end = int(ends[-1])
        cut = Cut(memoryview(buffer)[start:end], self._record, self._offset, ends - start, suspect)
        self._record += len(ends)
        self._offset += end - start
        return cut


def _ripe(ends: Any, start: int, size: int, records: int | None) -> int:
    """How many of the records that end at *ends* make the next cut; 0: more must be read to know."""
    if records is None or not len(ends):
        return 0
    fitting = max(1, int(ends.searchsorted(start + MAX_PIECE_BYTES, "right")))
    if len(ends) >= records:
        return min(records, fitting)
    return fitting if size - start > MAX_PIECE_BYTES else 0


def record_ends(data: bytes, marks: Marks) -> Any:
    """The index of each newline in *data* that ends a record; *data* begins with one."""
    np = library("numpy")
    codes = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(codes == _NEWLINE)
    escaped = bool(marks.escape) and marks.escape in data
    if not escaped and (not marks.quote or marks.quote not in data):
        return newlines
    if not escaped:
        quote = marks.quote[0]
        quotes = np.flatnonzero(codes == quote)
        opening = quotes[0::2]
        before = codes[opening[opening > 0] - 1]
        if np.isin(before, (marks.delimiter[0], _NEWLINE, _RETURN, quote)).all():
            # Each quote opens a field or closes one, so a newline after an even number of them is a record's end.
            return newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return np.fromiter(_ends_field_by_field(data, marks), np.int64)


def _ends_field_by_field(data: bytes, marks: Marks) -> Iterator[int]:
    """The slow way, for text with escapes, or with quotes inside unquoted fields."""
    mark, quote, escape = re.escape(marks.delimiter), re.escape(marks.quote), re.escape(marks.escape)
    any_escaped = escape + rb"[\s\S]|" if escape else b""
    plain = rb"(?:" + any_escaped + rb"[^" + mark + escape + rb"\n])*+"
    field = plain
    if quote:
        inner = rb"(?:" + any_escaped + quote + quote + rb"|[^" + quote + escape + rb"])*+"
        field = rb"(?:" + quote + inner + rb"(?:" + quote + plain + rb"|\Z)|" + plain + rb")"
    for found in re.finditer(field + rb"(?:" + mark + field + rb")*+\n", data):
        yield found.end() - 1
