"""An answer in one write: uvicorn writes its head and its body one after the other, which costs a system call more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HELD = 65_536
"""Bytes that are held back at most: whoever streams must feel that the other side does not take them."""

Data = bytes | bytearray | memoryview


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with what is written in one turn of the event loop sent at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(OneWriteTransport(transport, self.loop))


class OneWriteTransport(asyncio.Transport):
    """A transport that holds back what is written until the turn of the loop is over."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = transport
        self._loop = loop
        self._held: list[Data] = []
        self._bytes = 0

    def write(self, data: Data) -> None:
        """Send *data* soon."""
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)
        self._bytes += len(data)
        if self._bytes > MAX_HELD:
            self._send()

    def writelines(self, list_of_data: Iterable[Data]) -> None:
        """Send all soon."""
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """Send what is held, then the end."""
        self._send()
        self._inner.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self._send()
        self._inner.close()

    def _send(self) -> None:
        if self._held:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held.clear()
            self._bytes = 0
            self._inner.write(data)

    def abort(self) -> None:
        """Close without sending anything more."""
        self._held.clear()
        self._bytes = 0
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._inner.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._inner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have *protocol* hear what comes."""
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who hears what comes."""
        return self._inner.get_protocol()

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        """Read nothing for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._inner.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many bytes on the protocol is asked to write no more, and to write again."""
        self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._bytes + self._inner.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The limits, the lower one first."""
        return self._inner.get_write_buffer_limits()

    def can_write_eof(self) -> bool:
        """Whether the connection has an end that can be written."""
        return self._inner.can_write_eof()
