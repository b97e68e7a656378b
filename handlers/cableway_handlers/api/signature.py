"""
Standard Webhooks, verified strictly over the raw body.

Nothing here raises anything but `RequestError` (400, the headers are malformed) and
`UnauthenticatedError` (401), whatever the headers hold. Time taken does not tell which secret
or which character was wrong. The specification: https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cableway.errors import SettingsError
from cableway_handlers.api.problems import RequestError, UnauthenticatedError

TOLERANCE_S = 300
"""How far, in seconds, a webhook's own time may be from ours, either way."""

MAX_SIGNATURES = 16

_ID = re.compile(r"[A-Za-z0-9_:-]{1,255}")
_TIMESTAMP = re.compile(r"0|[1-9][0-9]{0,14}")
_SECRET_PREFIX = "whsec_"  # noqa: S105  # what a secret begins with, not one


@dataclass(frozen=True, slots=True)
class WebhookHeaders:
    """The three headers of a Standard Webhook: well-formed, nothing believed yet."""

    id: str
    timestamp: int
    signatures: tuple[bytes, ...]


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> WebhookHeaders:
    """Take the webhook headers out of *headers* (names in lower case, as ASGI has them).

    Raise `UnauthenticatedError` if one is missing, `RequestError` if one is repeated, or its id or
    timestamp malformed. Signatures that are of another version or no base64 are passed over.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in {b"webhook-id", b"webhook-timestamp", b"webhook-signature"}:
            if name in found:
                raise RequestError(f"The header {name.decode()} is there twice.")
            found[name] = value
    if len(found) < 3:
        raise UnauthenticatedError
    return WebhookHeaders(
        _text(found[b"webhook-id"], _ID, "webhook-id: 1 to 255 letters, digits, '_', ':' or '-'"),
        int(_text(found[b"webhook-timestamp"], _TIMESTAMP, "webhook-timestamp: whole seconds since 1970")),
        tuple(read_signatures(found[b"webhook-signature"])),
    )


def verify(headers: WebhookHeaders, body: bytes, secrets: Sequence[bytes], *, now_s: float) -> None:
    """Return if one of *secrets* signed *body* and the timestamp is within the tolerance of *now_s*.

    Raise `UnauthenticatedError` otherwise. No secrets at all cost the same time as a wrong one.
    """
    content = b"%s.%d.%s" % (headers.id.encode(), headers.timestamp, body)
    matches = False
    for secret in secrets or (b"nobody has this one",):
        expected = hmac.digest(secret, content, "sha256")
        for signature in headers.signatures:
            matches |= hmac.compare_digest(expected, signature)
    if not (matches and secrets and abs(now_s - headers.timestamp) <= TOLERANCE_S):
        raise UnauthenticatedError


def sign(secret: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature`` header for *body*, as a sender makes it."""
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(secret, content, "sha256")).decode()


@lru_cache(maxsize=1024)  # the same few are used for every webhook
def decode_secret(text: str) -> bytes:
    """Return the key that ``whsec_...`` stands for. Raise `SettingsError` without showing it."""
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not 24 <= len(key) <= 64:
        raise SettingsError(
            f"A webhook secret is {_SECRET_PREFIX} and the base64 of 24 to 64 random bytes; this is not."
        )
    return key


def _text(raw: bytes, pattern: re.Pattern[str], what: str) -> str:
    text = raw.decode("latin-1")
    if not pattern.fullmatch(text):
        raise RequestError(f"Malformed header {what}.")
    return text


def read_signatures(raw: bytes) -> Iterable[bytes]:
    """The signatures of a ``webhook-signature`` header; what is of another version or no base64 is passed over."""
    for part in raw.split(b" ")[:MAX_SIGNATURES]:
        version, _, encoded = part.partition(b",")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        # Encoded again it must be the same: base64 has several spellings of its last character.
        if version == b"v1" and base64.b64encode(signature) == encoded:
            yield signature
