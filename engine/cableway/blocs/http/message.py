"""A request as it is to be sent, and what came back."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cableway.blocs.http.addresses import place_of
from cableway.errors import HttpError

if TYPE_CHECKING:
    from httpx import URL

_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent. Its ``repr`` holds no header, body or query, for any of them may hold a secret."""

    method: str
    url: URL = field(repr=False)
    query: bytes = field(default=b"", repr=False)
    """Parameters that follow those of the URL, as they are sent; making a URL anew for each page takes its time."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool | None = None
    """Whether sending it twice does no more than sending it once; None: as the method says."""

    follows: bool = True
    """Whether it goes where a redirect leads; else that is a failure like others."""

    stamp: Callable[[Request], Request] | None = field(default=None, repr=False)
    """What is put on it each time that it is sent."""

    @property
    def place(self) -> str:
        """What errors say of it."""
        return place_of(self.method, self.url)

    @property
    def target(self) -> bytes:
        """What is asked for: path and parameters."""
        target = self.url.raw_path
        return target + (b"&" if b"?" in target else b"?") + self.query if self.query else target

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent again when nobody knows what became of it."""
        return self.method in _SAFE_TO_REPEAT if self.repeatable is None else self.repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back: header names are in lower case, and those that came several times are joined by comma."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request: Request
    """What it is the answer to."""

    @property
    def url(self) -> URL:
        """Where it came from."""
        return self.request.url

    @property
    def place(self) -> str:
        """What errors say of it."""
        return self.request.place

    def json(self) -> Any:
        """The body as a JSON value. Raise `HttpError` (``content``) where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            kind = self.headers.get("content-type", "no content type")[:80]
            raise HttpError(
                f"answered with {len(self.body)} bytes that are no JSON ({kind})", place=self.place, reason="content"
            ) from None


def json_body(value: Any) -> bytes:
    """*value* as JSON; times as ISO 8601, exact numbers and ids as text, bytes in base64.

    Raise `TypeError` or `ValueError` where it is none, as with a number that is not finite.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_as_json).encode()


def _as_json(value: Any) -> Any:
    match value:
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case bytes():
            return b64encode(value).decode()
        case _:
            raise TypeError(f"{type(value).__name__} is nothing that JSON can say")
