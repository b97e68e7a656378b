"""
Shared memory for the large parts of what crosses to another process.

An `Arena` holds buffers in a memory file that both sides have mapped and that has no
name, so that nothing is left behind whoever is killed. The other side takes `Leases` on them: a
buffer's block is free again when the last object that looks into it has gone, and not before.

Both sides import this, so it imports little.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOLD = 512
_PAGE_BYTES = 4096
_KEEP_BYTES = 256 * 1024 * 1024
_FIRST_BYTES = 16 * 1024 * 1024


class Arena:
    """Memory that this side writes and the other side reads, in blocks that are used again.

    ``fileno`` goes to the other side, which maps it with `Leases`. *fd* is a memory file that the
    other side made. Raise `OSError` when the
    machine has no memory or no handles left.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = memory_file() if fd is None else fd
        self._map: mmap.mmap | None = None
        self._size = 0
        self._top = 0
        self._taken: dict[int, int] = {}
        self._holes: list[tuple[int, int]] = []

    def fileno(self) -> int:
        """The file descriptor of the memory."""
        return self._fd

    @property
    def held_bytes(self) -> int:
        """How much of it is in use."""
        return sum(self._taken.values())

    def put(self, buffer: memoryview) -> tuple[int, int]:
        """Copy *buffer* in and return its block's offset and its length in bytes."""
        length = buffer.nbytes
        offset = self._allocate(-(-length // _PAGE_BYTES) * _PAGE_BYTES)
        if self._map is None:
            raise ValueError("the arena is closed")
        with memoryview(self._map) as whole:
            whole[offset : offset + length] = buffer
        return offset, length

    def free(self, offset: int) -> None:
        """Make the block at *offset* available again."""
        size = self._taken.pop(offset, None)
        if size is None:
            return
        if self._taken:
            self._holes.append((offset, size))
            self._merge()
            return
        self._holes.clear()
        self._top = 0
        if self._size > _KEEP_BYTES:
            # The pages of a rare huge item go back to the system; what is mapped stays mapped.
            os.ftruncate(self.fileno(), 0)
            os.ftruncate(self.fileno(), self._size)

    def close(self) -> None:
        """Let go of the memory; who still looks into it keeps what it sees."""
        self._map = None
        os.close(self._fd)

    def _allocate(self, size: int) -> int:
        for index, (offset, room) in enumerate(self._holes):
            if room >= size:
                if room == size:
                    del self._holes[index]
                else:
                    self._holes[index] = (offset + size, room - size)
                self._taken[offset] = size
                return offset
        offset = self._top
        self._reach(offset + size)
        self._top = offset + size
        self._taken[offset] = size
        return offset

    def _reach(self, size: int) -> None:
        if size <= self._size and self._map is not None:
            return
        grown = max(_FIRST_BYTES, self._size)
        while grown < size:
            grown *= 2
        os.ftruncate(self.fileno(), grown)
        self._map = mmap.mmap(self.fileno(), grown)
        self._size = grown

    def _merge(self) -> None:
        self._holes.sort()
        merged: list[tuple[int, int]] = []
        for offset, size in self._holes:
            if merged and merged[-1][0] + merged[-1][1] == offset:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((offset, size))
        if merged and merged[-1][0] + merged[-1][1] == self._top:
            self._top = merged.pop()[0]
        self._holes = merged


class Leases:
    """Views into the other side's `Arena`, and the offsets of those that nothing looks into any more.

    *fd* is the arena's memory; it is closed with `close`, and views outlive that.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None
        self._size = 0
        self._held: dict[int, weakref.ref[Any]] = {}
        self._freed: list[int] = []

    def take(self, offset: int, length: int) -> memoryview:
        """Return a writable view of the block at *offset*; it is let go of by forgetting it."""
        import ctypes

        whole = self._reach(offset + length)
        # Unlike a slice of the map, a ctypes array tells when the last view of it has gone.
        block = (ctypes.c_ubyte * length).from_buffer(whole, offset)
        held, freed = self._held, self._freed

        def forget(_: Any) -> None:
            held.pop(offset, None)
            freed.append(offset)

        held[offset] = weakref.ref(block, forget)
        return memoryview(block).cast("B")

    def freed(self) -> list[int]:
        """The blocks that nobody looks into any more, each told once, as many as a message holds."""
        if not self._freed:
            return self._freed[:]
        told = self._freed[:_TOLD]
        del self._freed[: len(told)]
        return told

    def close(self) -> None:
        """Take no more views; those that are held stay valid."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._map = None

    def untold(self, offsets: Sequence[int]) -> None:
        """Take back *offsets* that `freed` gave: the message with them was not read."""
        self._freed.extend(offsets)

    def _reach(self, size: int) -> mmap.mmap:
        if self._map is None or size > self._size:
            self._size = os.fstat(self._fd).st_size
            self._map = mmap.mmap(self._fd, self._size)
        return self._map


def memory_file() -> int:
    """Return a file in memory, without a name, that ends with its last user."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("cableway", os.MFD_CLOEXEC)
    from tempfile import TemporaryFile

    with TemporaryFile() as file:
        return os.dup(file.fileno())
