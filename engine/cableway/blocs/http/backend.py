"""Connections to addresses that were judged: what the pool of httpcore is given to connect with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import httpcore

from cableway.blocs.http.addresses import AddressGuard

if TYPE_CHECKING:
    import ssl

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, best first. Raises `OSError` where there are none."""

_MOST_ADDRESSES = 4


async def resolve(host: str, port: int) -> list[str]:
    """The system's own answer."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class VettedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a host once, judges what came, and connects to nothing else; TLS still asks for the host's own name."""

    def __init__(self, guard: AddressGuard, resolver: Resolve = resolve) -> None:
        self._guard = guard
        self._resolve = resolver
        self._plain = _plain()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raise `AddressRefusedError` where one may not be reached, `httpcore.ConnectError` where none answers."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the host's address was not found in time") from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("the host has no address") from None
        vetted = self._guard.vet(host, addresses, f"{host}:{port}")[:_MOST_ADDRESSES]
        for last, address in enumerate(vetted, 1 - len(vetted)):
            try:
                return await self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if last == 0:
                    raise
        raise httpcore.ConnectError("the host has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a request goes to a host."""
        raise httpcore.ConnectError("no request goes to a socket")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def pool(
    guard: AddressGuard,
    *,
    connections: int,
    tls: ssl.SSLContext,
    proxy: str | None = None,
    resolver: Resolve = resolve,
) -> httpcore.AsyncConnectionPool:
    """Connections to hosts that *guard* lets pass, or to the *proxy*, which then resolves the names that it is sent."""
    return httpcore.AsyncConnectionPool(
        ssl_context=tls,
        proxy=_proxy(proxy),
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=30.0,
        network_backend=_plain() if proxy else VettedBackend(guard, resolver),
    )


def _plain() -> httpcore.AsyncNetworkBackend:
    made: Any = httpcore.AnyIOBackend()  # a type checker sees what it is without anyio
    return cast("httpcore.AsyncNetworkBackend", made)


def _proxy(url: str | None) -> httpcore.Proxy | None:
    if url is None:
        return None
    import httpx

    given = httpx.Proxy(url)
    return httpcore.Proxy(
        url=httpcore.URL(
            scheme=given.url.raw_scheme, host=given.url.raw_host, port=given.url.port, target=given.url.raw_path
        ),
        auth=given.raw_auth,
    )
