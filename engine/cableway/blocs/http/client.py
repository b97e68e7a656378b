"""Sends requests: to vetted addresses, within limits of time and size, again where that may help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from cableway.blocs.http import redirects
from cableway.blocs.http.addresses import AddressGuard
from cableway.blocs.http.backend import Connections, ProxiedConnections, Resolve, VettedConnections, resolve
from cableway.blocs.http.body import ACCEPTED, read_body
from cableway.blocs.http.message import Reply, Request
from cableway.blocs.http.retry import RetryBudget, delay_s, may_pass, retry_after_s
from cableway.blocs.http.wire import Outgoing
from cableway.errors import AddressRefusedError, HttpError
from cableway.redaction import guard

if TYPE_CHECKING:
    import ssl

    from cableway.blocs.http.auth import Credentials
    from cableway.blocs.http.options import HttpOptions
    from cableway.settings import HttpSettings

USER_AGENT = "cableway"


class Client:
    """For one bloc and one event loop; `close` it.

    *settings* say where requests may go; None: to public addresses alone. *credentials* go to the origin of each
    request, and are renewed once where the server no longer takes them.
    """

    def __init__(
        self,
        options: HttpOptions,
        settings: HttpSettings | None = None,
        *,
        credentials: Credentials | None = None,
        connections: int = 100,
        resolver: Resolve = resolve,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        proxy = settings.proxy if settings is not None else None
        if proxy is not None:
            guard([proxy])
        self._guard = AddressGuard(settings.allow if settings is not None else ())
        self._proxied = proxy is not None
        self._options = options
        self._credentials = credentials
        self._budget = RetryBudget(options.attempts)
        self._sleep = sleep
        self._connections: Connections = (
            VettedConnections(self._guard, _tls(), most=connections, idle_s=options.idle_s, resolver=resolver)
            if proxy is None
            else ProxiedConnections(proxy, _tls(), most=connections, idle_s=options.idle_s)
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._connections.close()

    async def send(self, request: Request, *, key: str = "") -> Reply:
        """The answer to *request*, whose status is below 300; *key* is the item that it is for.

        Raise `HttpError` saying where and why there is none, and `AddressRefusedError` where it may not go.
        """
        repetition = 0
        while True:
            try:
                reply = await self._known(request)
            except HttpError as error:
                if not (may_pass(request, error) and self._budget.take(key)):
                    raise
                repetition += 1
                await self._sleep(delay_s(self._options, repetition, error.retry_after_s))
            else:
                self._budget.answered(key)
                return reply

    async def _known(self, request: Request) -> Reply:
        """With credentials, and with new ones where these have grown old."""
        if request.stamp is not None:
            request = request.stamp(request)
        if self._credentials is None:
            return await self._followed(request)
        try:
            return await self._followed(await self._credentials.on(request, self.send_plainly))
        except HttpError as error:
            if error.http_status != 401 or not self._credentials.renew():
                raise
            return await self._followed(await self._credentials.on(request, self.send_plainly))

    async def send_plainly(self, request: Request) -> Reply:
        """As `send`, without credentials and once."""
        return await self._followed(request)

    async def _followed(self, request: Request) -> Reply:
        for _ in range(redirects.MOST + 1):
            reply = await self._answered(request)
            if reply.status not in redirects.STATUSES or not request.follows:
                return self._judged(reply)
            request = redirects.next_request(request, reply)
        raise HttpError(f"was sent on more than {redirects.MOST} times", place=request.place, reason="redirect")

    async def _answered(self, request: Request) -> Reply:
        self._vet(request)
        options = self._options
        try:
            async with asyncio.timeout(options.timeout_s):
                return await self._exchanged(request)
        except TimeoutError:
            message = f"took longer than {options.timeout_s:g} s"
            raise HttpError(message, place=request.place, reason="timeout") from None
        except httpcore.TimeoutException:
            message = f"nothing came for {options.idle_s:g} s"
            raise HttpError(message, place=request.place, reason="timeout") from None
        except (httpcore.ConnectError, httpcore.ProxyError) as error:
            message = f"no connection: {_short(error)}"
            raise HttpError(message, place=request.place, reason="connect") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            message = f"the connection broke off: {_short(error)}"
            raise HttpError(message, place=request.place, reason="length") from None
        except AddressRefusedError as error:
            raise AddressRefusedError(error.message, place=request.place, reason="address") from None

    async def _exchanged(self, request: Request) -> Reply:
        url = request.url
        sent = Outgoing(
            method=request.method,
            scheme=url.raw_scheme,
            host=url.raw_host,
            port=url.port,
            target=request.target,
            headers=_headers(request),
            body=request.body,
        )
        async with self._connections.answer(sent) as response:
            headers = _joined(response.headers)
            body = await read_body(
                response.pieces,
                headers.get("content-encoding", ""),
                max_bytes=self._options.max_bytes,
                place=lambda: request.place,
            )
        return Reply(status=response.status, headers=headers, body=body, request=request)

    def _vet(self, request: Request) -> None:
        """Through a proxy an address is judged before it is sent; a name is the proxy's to resolve."""
        if not self._proxied:
            return
        host = request.url.host
        try:
            ip_address(host)
        except ValueError:
            return
        self._guard.vet(host, [host], request.place)

    def _judged(self, reply: Reply) -> Reply:
        if reply.status < 300:
            return reply
        wait_s = retry_after_s(reply.headers)
        asked = f" and asks to wait {wait_s:g} s" if wait_s is not None else ""
        raise HttpError(
            f"answered {reply.status}{asked}",
            place=reply.place,
            reason="status",
            http_status=reply.status,
            retry_after_s=wait_s,
        )


@cache
def _tls() -> ssl.SSLContext:
    """Made once, for reading the authorities takes longer than a request."""
    return httpx.create_ssl_context()


def with_header(request: Request, name: str, value: str) -> Request:
    """*request* with one header more, in place of one of that name."""
    others = {other: text for other, text in request.headers.items() if other.lower() != name.lower()}
    return replace(request, headers={**others, name: value})


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    url, given = request.url, {name.lower(): value for name, value in request.headers.items()}
    host = url.netloc
    headers = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": ACCEPTED, **given}
    if request.body is not None:
        headers["content-length"] = str(len(request.body))
    elif request.method in {"POST", "PUT", "PATCH"}:
        headers["content-length"] = "0"
    try:
        return [(b"host", host), *((name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items())]
    except UnicodeEncodeError:
        raise HttpError("a header holds what no header can", place=request.place, reason="content") from None


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
