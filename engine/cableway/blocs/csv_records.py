"""Where the records of a CSV stream end, so that it is cut between them and never inside one."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from cableway.blocs.tables import library
from cableway.errors import SourceError

BLOCK_BYTES = 4 * 1024 * 1024
MAX_RECORD_BYTES = 64 * 1024 * 1024
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


class ByteStream(Protocol):
    """Bytes of UTF-8, read forward."""

    def read(self, size: int, /) -> bytes:
        """At most *size* bytes; none at the end."""
        ...


class Recoded:
    """A file in another encoding, read as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding

    def read(self, size: int, /) -> bytes:
        """About *size* bytes. Raise `SourceError` where the bytes are not of the encoding."""
        text = ""
        while not text:
            block = self._file.read(size)
            try:
                text = self._decoder.decode(block, final=not block)
            except UnicodeError:
                raise SourceError(f"is not {self._encoding}; set 'encoding' to what it is") from None
            if not block:
                break
        return text.encode()


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
    records: int


def cuts(stream: ByteStream, records: int, delimiter: str, *, record: int = 0, offset: int = 0) -> Iterator[Cut]:
    """*stream* in cuts of *records* each, the last one shorter; *record* and *offset* are where it stands now.

    Memory: about twice the bytes of a cut, and two blocks. Raise `SourceError` at a record that does not end.
    """
    separator = delimiter.encode()
    kept = b""
    while True:
        block = stream.read(max(BLOCK_BYTES, len(kept)))
        buffer = kept + block
        if not block and buffer and not buffer.endswith(b"\n"):
            buffer += b"\n"
        ends = record_ends(buffer, separator)
        start = used = 0
        while len(ends) - used >= records:
            end = int(ends[used + records - 1]) + 1
            yield Cut(memoryview(buffer)[start:end], record, offset + start, records)
            start, used, record = end, used + records, record + records
        kept, offset = buffer[start:], offset + start
        if not block:
            break
        if len(ends) == used and len(kept) > MAX_RECORD_BYTES:
            raise SourceError(f"row {record + 1} is longer than {MAX_RECORD_BYTES >> 20} MiB; is a quote left open?")
    left = len(ends) - used
    if kept and (not left or int(ends[-1]) + 1 != len(buffer)):
        raise SourceError(f"row {record + left + 1}: a quoted field is not closed before the file ends")
    if kept:
        yield Cut(memoryview(kept), record, offset, left)


def record_ends(data: bytes, separator: bytes) -> Any:
    """The index of each newline in *data* that ends a record; *data* begins with one."""
    np = library("numpy")
    codes = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(codes == _NEWLINE)
    if b'"' not in data:
        return newlines
    quotes = np.flatnonzero(codes == _QUOTE)
    opening = quotes[0::2]
    before = codes[opening[opening > 0] - 1]
    if np.isin(before, (separator[0], _NEWLINE, _RETURN, _QUOTE)).all():
        # Each quote opens a field or closes one, so a newline after an even number of them is a record's end.
        return newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return np.fromiter(_ends_field_by_field(data, separator), np.int64)


def _ends_field_by_field(data: bytes, separator: bytes) -> Iterator[int]:
    """The slow way, for text with quotes inside unquoted fields."""
    mark = re.escape(separator)
    quoted = rb'"[^"]*+(?:""[^"]*+)*+(?:"[^' + mark + rb"\n]*+|\Z)"
    field = rb"(?:" + quoted + rb"|[^" + mark + rb"\n]*+)"
    for found in re.finditer(field + rb"(?:" + mark + field + rb")*+\n", data):
        yield found.end() - 1
