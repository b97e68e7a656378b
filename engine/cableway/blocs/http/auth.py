"""Who a bloc is to a server: a token, a user, a key, or a token that is fetched and fetched again."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

from cableway.blocs.http.addresses import parsed
from cableway.blocs.http.client import with_header
from cableway.blocs.http.message import Reply, Request
from cableway.blocs.http.options import Auth
from cableway.errors import CredentialsError, DefinitionError, HttpError
from cableway.redaction import guard

Send = Callable[[Request], Awaitable[Reply]]

_REFUSED = frozenset({400, 401, 403, 404, 405, 410})
_EARLY_S = 30.0
_UNSAID_S = 300.0


class Credentials(Protocol):
    """What is put on each request."""

    async def on(self, request: Request, send: Send) -> Request:
        """*request* with it; *send* asks for what is not there yet."""
        ...

    def renew(self) -> bool:
        """The server takes it no longer. Whether asking for a new one could help."""
        ...


class Fixed:
    """A header or a parameter that stays the same."""

    def __init__(self, name: str, value: str, *, in_query: bool = False) -> None:
        guard([value, value.rpartition(" ")[2]])
        self._name, self._value, self._in_query = name, value, in_query

    async def on(self, request: Request, send: Send) -> Request:
        """*request* with the value in its header, or in its URL."""
        if self._in_query:
            return replace(request, url=request.url.copy_set_param(self._name, self._value))
        return with_header(request, self._name, self._value)

    def renew(self) -> bool:
        """False: a key is given once, and there is no other to be had."""
        return False


class ClientToken:
    """A token that a token server gives to a client (RFC 6749, 4.4), kept until shortly before it ends."""

    def __init__(self, auth: Auth, now: Callable[[], float] = time.monotonic) -> None:
        self._url = parsed(auth.token_url or "")
        self._auth = auth
        self._now = now
        self._token = ""
        self._until = 0.0
        self._lock = asyncio.Lock()
        guard([auth.client_secret or ""])

    async def on(self, request: Request, send: Send) -> Request:
        """*request* with the token. Raise `CredentialsError` where the token server refuses the client."""
        async with self._lock:
            if not self._token or self._now() >= self._until:
                await self._fetch(send)
            token = self._token
        return with_header(request, "Authorization", f"Bearer {token}")

    def renew(self) -> bool:
        """Forget the token."""
        had, self._token = bool(self._token), ""
        return had

    async def _fetch(self, send: Send) -> None:
        auth = self._auth
        form = {"grant_type": "client_credentials"}
        form |= {name: value for name in ("scope", "audience") if (value := getattr(auth, name))}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if auth.client_in == "body":
            form |= {"client_id": auth.client_id or "", "client_secret": auth.client_secret or ""}
        else:
            headers["Authorization"] = _basic(
                quote(auth.client_id or "", safe=""), quote(auth.client_secret or "", safe="")
            )
        request = Request(method="POST", url=self._url, headers=headers, body=urlencode(form).encode(), repeatable=True)
        try:
            reply = await send(request)
        except HttpError as error:
            if error.http_status in _REFUSED:
                raise CredentialsError(
                    f"{error.place}: the token server refused the client ({error.http_status})"
                ) from None
            raise
        self._take(reply)

    def _take(self, reply: Reply) -> None:
        given = reply.json()
        answer = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        token, lasts = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token:
            raise HttpError("the token server gave no access_token", place=reply.place, reason="content")
        guard([token])
        lasts_s = float(lasts) if isinstance(lasts, int | float) and not isinstance(lasts, bool) else _UNSAID_S
        self._token = token
        self._until = self._now() + max(lasts_s - _EARLY_S, lasts_s / 2)


def credentials_of(auth: Auth | None, bloc: str) -> Credentials | None:
    """What *auth* says. Raise `DefinitionError` naming *bloc* where a value cannot stand in a header."""
    if auth is None:
        return None
    values = (auth.token, auth.username, auth.password, auth.key, auth.client_id, auth.client_secret)
    if any(char in value for value in values if value for char in "\r\n\x00"):
        raise DefinitionError(f"bloc {bloc!r}: a value of 'auth' holds the end of a line; check the secret")
    match auth.type:
        case "bearer":
            return Fixed("Authorization", f"Bearer {auth.token}")
        case "basic":
            guard([auth.password or ""])
            return Fixed("Authorization", _basic(auth.username or "", auth.password or ""))
        case "api_key":
            return Fixed(auth.name, auth.key or "", in_query=auth.place == "query")
        case "oauth2_client":
            return ClientToken(auth)


def _basic(user: str, password: str) -> str:
    said = b64encode(f"{user}:{password}".encode()).decode()
    guard([said])
    return f"Basic {said}"
