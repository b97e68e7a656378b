"""Bodies read piece by piece, unpacked, and given up on when there is too much of them."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from cableway.errors import HttpError

ACCEPTED = "gzip, deflate"
"""The encodings that are asked for."""

_PIECE_BYTES = 1 << 20


async def read_body(pieces: AsyncIterator[bytes], encoding: str, *, max_bytes: int, place: Callable[[], str]) -> bytes:
    """All of *pieces*, unpacked by *encoding*.

    Raise `HttpError`: ``too_large`` beyond *max_bytes*, packed or unpacked, and ``encoding`` where it cannot be
    unpacked. No more than that many bytes, and one piece, are ever held.
    """
    parts: list[bytes] = []
    packed = unpacked = 0
    unpacker = _unpacker(encoding.strip().lower(), place)
    async for piece in pieces:
        packed += len(piece)
        if packed > max_bytes:
            raise _too_large(max_bytes, place)
        for part in unpacker.of(piece) if unpacker else (piece,):
            unpacked += len(part)
            if unpacked > max_bytes:
                raise _too_large(max_bytes, place)
            parts.append(part)
    if unpacker is not None:
        unpacker.end()
    return b"".join(parts)


class _Unpacker:
    """zlib's, in pieces of a bounded size."""

    def __init__(self, make: Callable[[bytes], Any], place: Callable[[], str]) -> None:
        self._make = make
        self._place = place
        self._stream: Any = None

    def of(self, piece: bytes) -> Iterator[bytes]:
        """What one packed piece holds, unpacked as it is asked for."""
        out = b""
        while piece or len(out) == _PIECE_BYTES:
            out, piece = self._step(piece)
            yield out

    def end(self) -> None:
        """Raise `HttpError` where the end is missing."""
        if self._stream is not None:
            raise self._broken()

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        """Some bytes unpacked, and what is left of *data*."""
        if self._stream is None:
            if not data:
                return b"", b""
            self._stream = self._make(data)
        try:
            out = self._stream.decompress(data, _PIECE_BYTES)
        except zlib.error:
            raise self._broken() from None
        if self._stream.eof:
            rest, self._stream = self._stream.unused_data, None
            return out, rest
        return out, self._stream.unconsumed_tail

    def _broken(self) -> HttpError:
        return HttpError("the answer cannot be unpacked as it says", place=self._place(), reason="encoding")


def _unpacker(encoding: str, place: Callable[[], str]) -> _Unpacker | None:
    match encoding:
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Unpacker(lambda _: zlib.decompressobj(zlib.MAX_WBITS | 16), place)
        case "deflate":
            return _Unpacker(_deflate, place)
        case _:
            raise HttpError(
                f"answered in the encoding {encoding[:40]!r}; {ACCEPTED} were asked for",
                place=place(),
                reason="encoding",
            )


def _deflate(first: bytes) -> Any:
    """With the two bytes that the standard wants, or without, as many servers send it."""
    headed = len(first) > 1 and first[0] & 0x0F == 8 and (first[0] << 8 | first[1]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)


def _too_large(max_bytes: int, place: Callable[[], str]) -> HttpError:
    return HttpError(
        f"the answer is larger than {max_bytes} bytes; raise http.max_bytes, or ask for less",
        place=place(),
        reason="too_large",
    )
