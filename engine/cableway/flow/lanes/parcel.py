"""
A value on its way: its pickle in the message while it is small, and its large buffers in the arena.

Both sides of a lane import this, so it imports little.
"""

from __future__ import annotations

from pickle import dumps, loads
from typing import TYPE_CHECKING, Any

from cableway.flow.lanes.frames import Frame
from cableway.flow.packing import pack

if TYPE_CHECKING:
    from cableway.flow.transfer import Arena, Leases

_INLINE_BYTES = 24 * 1024  # what stands in the message itself; the rest goes to the arena
_TABLE = b"t"  # the body of a message whose list of blocks is itself a block


class TooLargeError(ValueError):
    """A value is larger than it may be; ``size_bytes`` is what it would have taken to carry it."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes:,} bytes are more than the {limit_bytes:,} that an item may have")
        self.size_bytes = size_bytes


class Parcel:
    """A value as it is sent: what stands in the message, and the offsets of all ``blocks`` beside it."""

    __slots__ = ("blocks", "body", "refs", "size_bytes", "spilled")

    def __init__(self, body: bytes, refs: list[tuple[int, int]], size_bytes: int, *, spilled: bool) -> None:
        self.body = body
        self.refs = refs
        self.blocks = [offset for offset, _ in refs]
        self.size_bytes = size_bytes
        self.spilled = spilled

    def frame(self, kind: int, seq: int = 0, *, a: int = 0, b: int = 0) -> Frame:
        """Return the message that carries it."""
        return Frame(kind, seq, a=a, b=b, body=self.body, refs=self.refs, spilled=self.spilled)


def place(value: Any, arena: Arena, limit_bytes: int | None = None) -> Parcel:
    """Return *value* ready to be sent, its large parts in *arena*.

    Raise `TooLargeError` when it takes more than *limit_bytes*, with nothing left in the arena,
    and whatever pickling it raises.
    """
    body, buffers = pack(value)
    size = len(body) + sum([buffer.nbytes for buffer in buffers])
    if limit_bytes is not None and size > limit_bytes:
        raise TooLargeError(size, limit_bytes)
    if not buffers and len(body) <= _INLINE_BYTES:
        return Parcel(body, [], size, spilled=False)
    refs: list[tuple[int, int]] = []
    try:
        refs.extend(map(arena.put, buffers))
        if len(body) + 16 * len(refs) <= _INLINE_BYTES:
            return Parcel(body, refs, size, spilled=False)
        refs.insert(0, arena.put(memoryview(body)))
        table = dumps(refs, 5)
        if len(table) <= _INLINE_BYTES // 2:
            return Parcel(b"", refs, size, spilled=True)
        parcel = Parcel(_TABLE, [arena.put(memoryview(table))], size, spilled=True)
        parcel.blocks += [offset for offset, _ in refs]
        return parcel
    except OSError:
        for offset, _ in refs:
            arena.free(offset)
        raise


def receive(frame: Frame, leases: Leases) -> Any:
    """Return the value that a `Parcel`'s message brought. Raise whatever unpickling it raises."""
    refs = frame.refs
    if not refs:
        return loads(frame.body)
    if frame.body == _TABLE:
        refs = loads(leases.take(*refs[0]))
    views = [leases.take(*ref) for ref in refs]
    if frame.spilled:
        return loads(views[0], buffers=views[1:])
    return loads(frame.body, buffers=views)
