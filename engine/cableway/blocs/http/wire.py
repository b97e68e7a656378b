"""
HTTP/1.1 over one stream, one request after the other.

h11 says what the bytes mean. httpcore's own connection does that with h11 as well, but its locks, traces and scopes
take longer than an answer takes to read; where pages come by the hundred a second, that is most of the work.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import h11
import httpcore

_READ_BYTES = 1 << 16
_HEAD_BYTES = 100 * 1024
_KEPT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request in the bytes that go out."""

    method: str
    scheme: bytes
    host: bytes
    port: int | None
    """None: the scheme's own."""
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | None

    @property
    def origin(self) -> tuple[bytes, bytes, int | None]:
        """Whom a connection leads to."""
        return self.scheme, self.host, self.port


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer whose body is still to be read."""

    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: AsyncIterator[bytes]


class Wire:
    """One connection. A stream that says nothing for *idle_s* seconds is given up on.

    Everything raises httpcore's errors: `httpcore.TimeoutException`, `httpcore.NetworkError` and
    `httpcore.ProtocolError`.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream, *, idle_s: float) -> None:
        self._stream = stream
        self._idle_s = idle_s
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._until = 0.0

    async def ask(self, request: Outgoing) -> Incoming:
        """Send *request*; return its answer as soon as its head is there."""
        # A server may answer before it has read everything, and close.
        with suppress(httpcore.WriteError):
            await self._stream.write(self._said(request), self._idle_s)
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return Incoming(event.status_code, list(event.headers), self._pieces())
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                raise httpcore.RemoteProtocolError("the server speaks another protocol now, which nobody asked for")

    def end(self) -> bool:
        """Whether the answer has been read whole, so that there may be a next request."""
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        self._until = time.monotonic() + _KEPT_S
        return True

    def stands(self) -> bool:
        """Whether it has not been at rest for too long, and the server has not ended it meanwhile."""
        return time.monotonic() < self._until and not self._stream.get_extra_info("is_readable")

    async def close(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def _said(self, request: Outgoing) -> bytes:
        events: list[h11.Event] = [h11.Request(method=request.method, target=request.target, headers=request.headers)]
        if request.body:
            events.append(h11.Data(data=request.body))
        events.append(h11.EndOfMessage())
        try:
            return b"".join(self._state.send(event) or b"" for event in events)
        except h11.LocalProtocolError as error:
            raise httpcore.LocalProtocolError(str(error)) from None

    async def _pieces(self) -> AsyncGenerator[bytes]:
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    async def _event(self) -> h11.Event:
        while True:
            try:
                event = self._state.next_event()
            except h11.RemoteProtocolError as error:
                raise httpcore.RemoteProtocolError(str(error)) from None
            if event is h11.PAUSED:
                raise httpcore.RemoteProtocolError("the server says more than one answer")
            if not isinstance(event, type):
                return event
            data = await self._stream.read(_READ_BYTES, self._idle_s)
            if not data and self._state.their_state is h11.SEND_RESPONSE:
                raise httpcore.RemoteProtocolError("the server ended the connection without an answer")
            self._state.receive_data(data)
