"""What the config of every bloc that sends requests has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, cast

from annotated_types import Ge, Gt, Le, MinLen

from cableway.blocs.http.addresses import url_fault
from cableway.redaction import redacted
from cableway.references import is_reference

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How patient a bloc is, and how much it takes."""

    attempts: Annotated[int, Ge(1), Le(10)] = 4
    """Times that one request is sent in all, where it fails in a way that may pass."""
    wait_s: Annotated[float, Ge(0), Le(3600)] = 0.5
    """Seconds before it is sent again; twice as many after each further failure."""
    max_wait_s: Annotated[float, Ge(0), Le(3600)] = 60.0
    """Seconds that one wait takes at most, whatever the server asks for with Retry-After."""
    timeout_s: Annotated[float, Gt(0), Le(86400)] = 60.0
    """Seconds for one attempt, from the connection to the last byte."""
    idle_s: Annotated[float, Gt(0), Le(3600)] = 30.0
    """Seconds that may pass between two pieces of an answer."""
    max_bytes: Annotated[int, Ge(1)] = 104_857_600
    """Bytes of one answer, as it is sent and as it is once it is unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who the bloc is to the server. Secrets are references, as `${secret:NAME}`."""

    type: Literal["bearer", "basic", "api_key", "oauth2_client"]
    """Which way: a token, a user with a password, a key, or a token that a token server gives to a client."""
    token: str | None = None
    """Of `bearer`: the token, a reference to a secret."""
    username: str | None = None
    """Of `basic`: the user."""
    password: str | None = None
    """Of `basic`: the password, a reference to a secret."""
    key: str | None = None
    """Of `api_key`: the key, a reference to a secret."""
    name: Annotated[str, MinLen(1)] = "X-API-Key"
    """Of `api_key`: the header or the parameter that holds the key."""
    place: Literal["header", "query"] = "header"
    """Of `api_key`: where the key goes."""
    token_url: str | None = None
    """Of `oauth2_client`: where tokens are given out."""
    client_id: str | None = None
    """Of `oauth2_client`: the client."""
    client_secret: str | None = None
    """Of `oauth2_client`: its secret, a reference to one."""
    scope: str | None = None
    """Of `oauth2_client`: what is asked for, by space."""
    audience: str | None = None
    """Of `oauth2_client`: for whom the token is, where the server wants to know."""
    client_in: Literal["header", "body"] = "header"
    """Of `oauth2_client`: how the client names itself, as basic authentication or in the form."""


_WANTED = {
    "bearer": ("token",),
    "basic": ("username", "password"),
    "api_key": ("key",),
    "oauth2_client": ("token_url", "client_id", "client_secret"),
}
_SECRET = ("token", "password", "key", "client_secret")


def as_config(kind: type[T], given: T | Mapping[str, Any] | None) -> T | None:
    """*given* as *kind*: a config that was checked before comes as plain JSON values."""
    if isinstance(given, Mapping):
        return kind(**cast("Mapping[str, Any]", given))
    return given


def options_of(given: HttpOptions | Mapping[str, Any]) -> HttpOptions:
    """*given* as options."""
    return as_config(HttpOptions, given) or HttpOptions()


def auth_faults(auth: Auth | None) -> Iterator[tuple[str, str]]:
    """What is missing of *auth*, and which of its secrets are written out."""
    if auth is None:
        return
    for name in _WANTED[auth.type]:
        if not getattr(auth, name):
            yield f"auth/{name}", f"is required for {auth.type}"
    for name in _SECRET:
        value = getattr(auth, name)
        if value and not _is_secret(value):
            yield f"auth/{name}", "is a secret, and a definition is no place for one; write ${secret:NAME}"
    if auth.token_url is not None:
        yield from url_faults("auth/token_url", auth.token_url)


def url_faults(field: str, url: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a URL of a config that can be told without its references."""
    if not is_reference(url) and (reason := url_fault(url)):
        yield field, reason


def header_faults(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Headers that are none."""
    for name, value in headers.items():
        if not name or not name.isascii() or any(not char.isalnum() and char not in "!#$%&'*+-.^_`|~" for char in name):
            yield f"headers/{name}", "is no name of a header"
        elif any(char in value for char in "\r\n\x00"):
            yield f"headers/{name}", "holds the end of a line"
        elif name.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
            yield f"headers/{name}", "is said by the connection itself"


def _is_secret(value: str) -> bool:
    return "${secret:" in value or redacted(value) != value
