"""
The messages between a pool and its workers: a fixed head, two short tables and a pickle.

Calls go one to a packet over a socket whose reading end both sides hold, so that the pool can take
back what a worker has not begun. Everything else goes over a stream, in both directions.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CALL, SHARE, CREDIT, ABANDON, PREPARE = 1, 2, 3, 4, 5
READY, REFUSED, RESULT, FAILED, STREAM, ITEM, END, REPORT, LEAVING = 11, 12, 13, 14, 15, 16, 17, 18, 19

PACKET_BYTES = 48 * 1024
"""No message is longer: `cableway.flow.transfer.place` puts what is over its own limit into the arena."""

_HEAD = Struct("<IBBQQQHH")
HEAD_BYTES = _HEAD.size


class Frame:
    """One message. What ``a`` and ``b`` are depends on its kind; ``refs`` are blocks of the sender's arena."""

    __slots__ = ("a", "b", "body", "freed", "kind", "refs", "seq", "spilled")

    def __init__(
        self,
        kind: int,
        seq: int = 0,
        *,
        a: int = 0,
        b: int = 0,
        body: bytes = b"",
        refs: Sequence[tuple[int, int]] = (),
        freed: Sequence[int] = (),
        spilled: bool = False,
    ) -> None:
        self.kind = kind
        self.seq = seq
        self.a = a
        self.b = b
        self.body = body
        self.refs = refs
        self.freed = freed
        self.spilled = spilled

    def encode(self) -> bytes:
        """Return the message as bytes."""
        refs, freed = self.refs, self.freed
        if not refs and not freed:
            head = _HEAD.pack(len(self.body), self.kind, self.spilled, self.seq, self.a, self.b, 0, 0)
            return head + self.body
        table = Struct(f"<{2 * len(refs) + len(freed)}Q").pack(*[n for ref in refs for n in ref], *freed)
        size = len(table) + len(self.body)
        head = _HEAD.pack(size, self.kind, self.spilled, self.seq, self.a, self.b, len(refs), len(freed))
        return b"".join((head, table, self.body))


def decode(data: bytes | bytearray | memoryview, start: int = 0) -> tuple[Frame, int] | None:
    """Return the message that begins at *start* and where it ends, or None when it is not there in full."""
    begin = start + HEAD_BYTES
    if len(data) < begin:
        return None
    size, kind, spilled, seq, a, b, refs, freed = _HEAD.unpack_from(data, start)
    end = begin + size
    if len(data) < end:
        return None
    frame = Frame(kind, seq, a=a, b=b, spilled=bool(spilled))
    if refs or freed:
        table = Struct(f"<{2 * refs + freed}Q")
        numbers = table.unpack_from(data, begin)
        begin += table.size
        frame.refs = list(zip(numbers[0 : 2 * refs : 2], numbers[1 : 2 * refs : 2], strict=True))
        frame.freed = numbers[2 * refs :]
    frame.body = bytes(data[begin:end])
    return frame, end


class Inlet:
    """Puts the messages of a stream together from the pieces that arrive."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, piece: bytes | memoryview) -> list[Frame]:
        """Return the messages that *piece* completes."""
        data = self._data
        data += piece
        frames: list[Frame] = []
        start = 0
        while (found := decode(data, start)) is not None:
            frame, start = found
            frames.append(frame)
        del data[:start]
        return frames
