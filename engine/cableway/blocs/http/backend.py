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
from cableway.blocs.http.wire import Incoming, Outgoing, Wire
from cableway.errors import Fault, SettingsError

if TYPE_CHECKING:
    import ssl

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, best first. Raises `OSError` where there are none."""

_MOST_ADDRESSES = 4


async def resolve(host: str, port: int) -> list[str]:
    """As `looked_up`, without holding up the loop."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        return await aside(looked_up, host, port)


def looked_up(host: str, port: int) -> list[str]:
    """The system's own answer, best first; an address is its own. Raise `OSError` where there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class Connections(Protocol):
    """What requests are sent over."""

    def answer(self, request: Outgoing) -> AbstractAsyncContextManager[Incoming]:
        """The answer to *request* while the block lasts, its body still to be read."""
        ...

    async def close(self) -> None:
        """Close all."""
        ...


class VettedConnections:
    """Resolves a host once for each connection, judges what came, and connects to nothing else.

    TLS asks for the host's own name. *most* connections are open at once; one that says nothing for *idle_s* seconds
    is given up on.
    """

    def __init__(
        self, guard: AddressGuard, tls: ssl.SSLContext, *, most: int, idle_s: float, resolver: Resolve = resolve
    ) -> None:
        self._guard = guard
        self._tls = tls
        self._resolve = resolver
        self._idle_s = idle_s
        self._turn = asyncio.Semaphore(most)
        self._idle: defaultdict[tuple[bytes, bytes, int | None], deque[Wire]] = defaultdict(deque)

    @asynccontextmanager
    async def answer(self, request: Outgoing) -> AsyncGenerator[Incoming]:
        """Raise `AddressRefusedError` where an address may not be reached, and httpcore's errors."""
        async with self._turn:
            wire = await self._wire(request)
            whole = False
            try:
                yield await wire.ask(request)
                whole = wire.end()
            finally:
                if whole:
                    self._idle[request.origin].append(wire)
                else:
                    await wire.close()

    async def close(self) -> None:
        """Close those at rest."""
        for kept in self._idle.values():
            for wire in kept:
                await wire.close()
        self._idle.clear()

    async def _wire(self, request: Outgoing) -> Wire:
        kept = self._idle[request.origin]
        while kept:
            wire = kept.pop()
            if wire.stands():
                return wire
            await wire.close()
        return Wire(await self._connected(request, self._idle_s), idle_s=self._idle_s)

    async def _connected(self, request: Outgoing, timeout_s: float) -> httpcore.AsyncNetworkStream:
        plain = request.scheme == b"http"
        host, port = request.host.decode("ascii"), request.port or (80 if plain else 443)
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
                return stream if plain else await stream.start_tls(self._tls, host, timeout_s)
        raise httpcore.ConnectError("the host has no address")


class ProxiedConnections:
    """To a proxy, which resolves the names that it is sent."""

    def __init__(self, proxy: str, tls: ssl.SSLContext, *, most: int, idle_s: float) -> None:
        self._pool = httpcore.AsyncConnectionPool(ssl_context=tls, proxy=_proxy(proxy), max_connections=most)
        self._timeouts = {"connect": idle_s, "read": idle_s, "write": idle_s}

    @asynccontextmanager
    async def answer(self, request: Outgoing) -> AsyncGenerator[Incoming]:
        """Raise httpcore's errors."""
        url = httpcore.URL(scheme=request.scheme, host=request.host, port=request.port, target=request.target)
        extensions = {"timeout": self._timeouts}
        response = await self._pool.handle_async_request(
            httpcore.Request(request.method, url, headers=request.headers, content=request.body, extensions=extensions)
        )
        try:
            yield Incoming(response.status, response.headers, response.aiter_stream())
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close all."""
        await self._pool.aclose()


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
