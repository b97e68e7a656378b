"""Connections to addresses that were judged, kept for the next request to the same origin."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

import httpcore

from cableway.aside import aside
from cableway.blocs.http.addresses import AddressGuard
from cableway.blocs.http.stream import LoopStream
from cableway.errors import Fault, SettingsError

if TYPE_CHECKING:
    import ssl

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, best first. Raises `OSError` where there are none."""

_MOST_ADDRESSES = 4
_KEPT_S = 30.0


async def resolve(host: str, port: int) -> list[str]:
    """The system's own answer; an address is its own."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        return await aside(_looked_up, host, port)


def _looked_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class Connections(Protocol):
    """What requests are sent over."""

    def answer(self, request: httpcore.Request) -> AbstractAsyncContextManager[httpcore.Response]:
        """The answer to *request* while the block lasts, its body still to be read."""
        ...

    async def close(self) -> None:
        """Close all."""
        ...


class VettedConnections:
    """Resolves a host once for each connection, judges what came, and connects to nothing else.

    TLS asks for the host's own name. *most* connections are open at once, each made within *connect_s* seconds.
    """

    def __init__(
        self, guard: AddressGuard, tls: ssl.SSLContext, *, most: int, connect_s: float, resolver: Resolve = resolve
    ) -> None:
        self._guard = guard
        self._tls = tls
        self._resolve = resolver
        self._connect_s = connect_s
        self._turn = asyncio.Semaphore(most)
        self._idle: defaultdict[tuple[bytes, bytes, int], deque[httpcore.AsyncHTTP11Connection]] = defaultdict(deque)

    @asynccontextmanager
    async def answer(self, request: httpcore.Request) -> AsyncGenerator[httpcore.Response]:
        """Raise `AddressRefusedError` where an address may not be reached, and httpcore's errors."""
        async with self._turn:
            connection = await self._connection(request)
            try:
                response = await connection.handle_async_request(request)
                try:
                    yield response
                finally:
                    await response.aclose()
            finally:
                if connection.is_idle():
                    self._idle[_origin(request.url)].append(connection)
                else:
                    await connection.aclose()

    async def close(self) -> None:
        """Close those at rest."""
        for kept in self._idle.values():
            for connection in kept:
                await connection.aclose()
        self._idle.clear()

    async def _connection(self, request: httpcore.Request) -> httpcore.AsyncHTTP11Connection:
        kept = self._idle[_origin(request.url)]
        while kept:
            connection = kept.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        stream = await self._connected(request.url, self._connect_s)
        return httpcore.AsyncHTTP11Connection(request.url.origin, stream, keepalive_expiry=_KEPT_S)

    async def _connected(self, url: httpcore.URL, timeout_s: float) -> httpcore.AsyncNetworkStream:
        host, port = url.host.decode("ascii"), url.origin.port
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the host's address was not found in time") from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("the host has no address") from None
        vetted = self._guard.vet(host, addresses, f"{host}:{port}")[:_MOST_ADDRESSES]
        for address in vetted:
            try:
                stream = await LoopStream.connected(address, port, timeout_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == vetted[-1]:
                    raise
            else:
                return stream if url.scheme == b"http" else await stream.start_tls(self._tls, host, timeout_s)
        raise httpcore.ConnectError("the host has no address")


class ProxiedConnections:
    """To a proxy, which resolves the names that it is sent."""

    def __init__(self, proxy: str, tls: ssl.SSLContext, *, most: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(ssl_context=tls, proxy=_proxy(proxy), max_connections=most)

    @asynccontextmanager
    async def answer(self, request: httpcore.Request) -> AsyncGenerator[httpcore.Response]:
        """Raise httpcore's errors."""
        response = await self._pool.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close all."""
        await self._pool.aclose()


def _origin(url: httpcore.URL) -> tuple[bytes, bytes, int]:
    return url.scheme, url.host, url.origin.port


def _proxy(url: str) -> httpcore.Proxy:
    import httpx

    try:
        given = httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        # What httpx says holds the URL, and that may hold a password.
        message = "CABLEWAY_HTTP_PROXY is no proxy that can be used; write http://host:port"
        raise SettingsError(message, [Fault("/CABLEWAY_HTTP_PROXY", "invalid", message)]) from None
    return httpcore.Proxy(
        url=httpcore.URL(
            scheme=given.url.raw_scheme, host=given.url.raw_host, port=given.url.port, target=given.url.raw_path
        ),
        auth=given.raw_auth,
    )
