"""The few words of ASGI that the hook route speaks without a framework: read a body, send an answer."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from uuid import uuid4

from cableway.errors import CablewayError
from cableway_handlers.api.problems import (
    KeyNeededError,
    MediaTypeError,
    RequestError,
    SlowRequestError,
    TooLargeError,
    TooManyRequestsError,
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = "cableway.request_id"
"""Where a request's scope holds its id, which stands in the answer and in what is logged of it."""

JSON = "application/json"
PROBLEM = "application/problem+json"

RETRY_AFTER_S = 5
"""What a caller is told to wait, in seconds, before it asks again after a 503."""


_encoded = json.JSONEncoder(separators=(",", ":")).encode


class ClientGoneError(Exception):
    """The caller hung up before its body was there; nobody waits for an answer."""


async def read_json_body(scope: Scope, receive: Receive, *, limit_bytes: int, deadline_s: float) -> bytes:
    """Return the raw body of a JSON request, not yet parsed.

    Raise `MediaTypeError` (415) unless it is declared as plain JSON, `TooLargeError` (413) as soon
    as it is known to be over *limit_bytes*, `SlowRequestError` (408) if it is not there within
    *deadline_s* seconds, and `ClientGoneError` if the caller left.
    """
    media_type(scope, frozenset({JSON}))
    return await read_body(scope, receive, limit_bytes=limit_bytes, deadline_s=deadline_s)


async def read_body(scope: Scope, receive: Receive, *, limit_bytes: int, deadline_s: float) -> bytes:
    """Return the raw body, whatever it is. Raise as `read_json_body` does, but for its media type."""
    check_length(header(scope, b"content-length"), limit_bytes)
    try:
        async with asyncio.timeout(deadline_s):
            return await read_pieces(receive, limit_bytes)
    except TimeoutError:
        raise too_slow(deadline_s) from None


def check_length(declared: bytes | str | None, limit_bytes: int) -> None:
    """Raise `TooLargeError` (413) where the header says that the body is over *limit_bytes*."""
    # Digits without end are a number too large, not one to convert.
    if declared is not None and (len(declared) > 15 or not declared.isdigit() or int(declared) > limit_bytes):
        raise _too_large(limit_bytes)


async def read_pieces(receive: Receive, limit_bytes: int) -> bytes:
    """The whole body, however long it takes. Raise `TooLargeError` (413), or `ClientGoneError` if the caller left."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if len(body) <= limit_bytes and message["type"] == "http.request" and not message.get("more_body", False):
        return body  # most come in one piece
    pieces = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        pieces += message.get("body", b"")
        if len(pieces) > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body", False):
            return bytes(pieces)
        message = await receive()


def too_slow(deadline_s: float) -> SlowRequestError:
    """That a body was not there within *deadline_s* seconds."""
    return SlowRequestError(f"The body was not there within {deadline_s:g} s.")


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of the header *name* (lower case), None if it is missing. Raise `RequestError` if it is repeated."""
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise RequestError(f"The header {name.decode()} is there twice.")
    return values[0] if values else None


async def send_json(
    send: Send,
    status: int,
    body: Mapping[str, object],
    headers: Mapping[str, str],
    media_type: str = "application/json",
) -> None:
    """Send *body* as the whole answer."""
    content = _encoded(body).encode()
    raw = [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


async def send_problem(send: Send, error: CablewayError, request_id: str | None = None) -> None:
    """Send *error* as an RFC 9457 problem."""
    await send_json(send, error.status, problem_body(error, request_id), problem_headers(error), PROBLEM)


def problem_body(error: CablewayError, request_id: str | None = None) -> dict[str, object]:
    """*error* as a problem whose instance is the request (or an id of its own), so that the log's line can be found."""
    return {**error.problem(), "instance": f"urn:uuid:{request_id or uuid4()}"}


def problem_headers(error: CablewayError) -> dict[str, str]:
    """What stands in the header of an answer that is *error*."""
    if isinstance(error, TooManyRequestsError):
        return {"retry-after": str(math.ceil(error.wait_s))}
    if isinstance(error, KeyNeededError):
        return {"www-authenticate": 'Bearer realm="cableway"'}
    if error.status in {429, 503}:
        return {"retry-after": str(RETRY_AFTER_S)}
    if error.status in {408, 413}:
        # Whatever else of the body may come is not read.
        return {"connection": "close"}
    return {}


def media_type(scope: Scope, taken: frozenset[str]) -> str:
    """The body's declared media type. Raise `MediaTypeError` (415) unless it is one of *taken*, plain and in UTF-8."""
    declared, encoding = header(scope, b"content-type") or b"", header(scope, b"content-encoding") or b""
    return plain_type(declared.decode("latin-1"), encoding.decode("latin-1"), taken)


def plain_type(declared: str, encoding: str, taken: frozenset[str]) -> str:
    """The media type of a header, if it is one of *taken* in UTF-8 and not encoded. Raise `MediaTypeError` (415)."""
    if declared in taken and not encoding:
        return declared
    name, _, parameters = declared.lower().partition(";")
    if name.strip() not in taken or parameters.replace(" ", "") not in {"", "charset=utf-8"}:
        raise MediaTypeError(f"Send the body as {' or '.join(sorted(taken))} in UTF-8.")
    if encoding.lower() not in {"", "identity"}:
        raise MediaTypeError("Send the body without a content encoding.")
    return name.strip()


def _too_large(limit_bytes: int) -> TooLargeError:
    return TooLargeError(f"The body is over the limit of {limit_bytes} bytes.")
