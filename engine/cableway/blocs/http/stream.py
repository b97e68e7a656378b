"""
One connection as httpcore wants it, straight on the event loop.

httpcore's own goes through anyio, and asking it whether an idle connection still stands costs more than a small
answer takes to read; with a few hundred pages a second that was most of the work.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import httpcore

if TYPE_CHECKING:
    import ssl

_HIGH_BYTES = 1 << 18
_CLOSING_S = 2.0


class LoopStream(httpcore.AsyncNetworkStream):
    """Bytes both ways. At most 256 KiB and one piece wait to be read; then the sender has to."""

    def __init__(self, protocol: _Protocol) -> None:
        self._protocol = protocol

    @classmethod
    async def connected(cls, address: str, port: int, timeout_s: float | None) -> LoopStream:
        """Raise `httpcore.ConnectError` or `httpcore.ConnectTimeout`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, protocol = await loop.create_connection(_Protocol, address, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the host did not answer in time") from None
        except OSError as error:
            raise httpcore.ConnectError(error.strerror or type(error).__name__) from None
        return cls(protocol)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        """Some bytes; none at the end."""
        data = self._protocol.taken(max_bytes)
        if data is not None:
            return data
        try:
            async with asyncio.timeout(timeout):
                await self._protocol.wait_for_data()
        except TimeoutError:
            raise httpcore.ReadTimeout from None
        return self._protocol.taken(max_bytes) or b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        """Send *buffer*, once what was sent before is on its way."""
        if not buffer:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._protocol.send(buffer)
        except TimeoutError:
            raise httpcore.WriteTimeout from None

    async def aclose(self) -> None:
        """Close it, and wait a moment for its end."""
        self._protocol.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await asyncio.shield(self._protocol.closed)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted. Raise `httpcore.ConnectError` where the server is not who it should be."""
        try:
            async with asyncio.timeout(timeout):
                await self._protocol.encrypt(ssl_context, server_hostname)
        except TimeoutError:
            await self.aclose()
            raise httpcore.ConnectTimeout("TLS was not agreed on in time") from None
        except OSError as error:
            await self.aclose()
            reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or error.strerror
            raise httpcore.ConnectError(f"TLS was not agreed on: {reason or type(error).__name__}") from None
        return self

    def get_extra_info(self, info: str) -> Any:
        """Whether it is readable (httpcore asks that of one at rest, which then has ended), and what asyncio knows."""
        if info == "is_readable":
            return self._protocol.is_readable
        return self._protocol.known(info)


class _Protocol(asyncio.Protocol):
    """Holds what has come, and wakes who waits for it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._held = bytearray()
        self._ended = False
        self._failed = False
        self._data: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    @property
    def is_readable(self) -> bool:
        return self._ended or bool(self._held)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _HIGH_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._failed = exc is not None
        self._room.set()
        self._wake()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def taken(self, most: int) -> bytes | None:
        """What has come; None where nothing has and it goes on. Raise `httpcore.ReadError` where it broke off."""
        if self._held:
            data = bytes(self._held[:most])
            del self._held[:most]
            if len(self._held) <= _HIGH_BYTES and self._transport is not None and not self._ended:
                self._transport.resume_reading()
            return data
        if self._failed:
            raise httpcore.ReadError("the connection was reset")
        return b"" if self._ended else None

    async def wait_for_data(self) -> None:
        while not (self._held or self._ended):
            self._data = self._loop.create_future()
            await self._data

    async def send(self, data: bytes) -> None:
        if self._transport is None or self._ended or self._transport.is_closing():
            raise httpcore.WriteError("the connection was closed")
        self._transport.write(data)
        await self._room.wait()

    async def encrypt(self, tls: ssl.SSLContext, name: str | None) -> None:
        if self._transport is None:
            raise ConnectionError
        made = await self._loop.start_tls(self._transport, self, tls, server_hostname=name)
        if made is None:
            raise ConnectionError
        self._transport = made

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def known(self, name: str) -> Any:
        return None if self._transport is None else self._transport.get_extra_info(name)

    def _wake(self) -> None:
        if self._data is not None and not self._data.done():
            self._data.set_result(None)
