"""
How senders of webhooks are known: what each signs, and where its signature stands.

Each way of signing reads a `Claim` out of a request; `known` then judges claims of all kinds alike, over the raw
body and in the same time whatever is wrong. Nothing is raised but `RequestError` (400: a header that every
hook reads alike is malformed, which is said before anybody looks for the hook) and `UnauthenticatedError` (401).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from cableway.definition import HookAuth, SignatureDefinition, TriggerDefinition
from cableway_handlers.api.problems import RequestError, UnauthenticatedError
from cableway_handlers.api.signature import MAX_SIGNATURES, decode_secret, read_signatures

_NOBODYS = b"nobody has this one"
_SECONDS = re.compile(r"0|[1-9][0-9]{0,14}")
_ID = re.compile(r"[A-Za-z0-9_:.-]{1,255}")
_PRINTABLE = re.compile(r"[!-~]{1,255}")
_FORMS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "webhook-id": (re.compile(r"[A-Za-z0-9_:-]{1,255}"), "1 to 255 letters, digits, '_', ':' or '-'"),
    "webhook-timestamp": (_SECONDS, "whole seconds since 1970"),
    "x-github-delivery": (_ID, "1 to 255 letters, digits, '_', ':', '.' or '-'"),
    "x-slack-request-timestamp": (_SECONDS, "whole seconds since 1970"),
    "idempotency-key": (_PRINTABLE, "1 to 255 printable characters without spaces"),
}
_SINGLE = frozenset({
    *_FORMS,
    "webhook-signature",
    "x-hub-signature-256",
    "stripe-signature",
    "x-slack-signature",
    "content-type",
    "content-encoding",
    "content-length",
})  # fmt: skip


@dataclass(slots=True)
class Sent:
    """A request as it came. Headers by name in lower case, as text of single bytes; the last of a name counts."""

    headers: Mapping[str, str]
    body: bytes

    def raw(self, name: str) -> bytes:
        """The header's bytes; none where it is missing."""
        return self.headers.get(name, "").encode("latin-1")


@dataclass(slots=True, kw_only=True)
class Claim:
    """What a request says of itself: nothing of it is believed yet."""

    content: bytes
    """What was signed."""
    signatures: tuple[bytes, ...] = ()
    """Of which one must be right."""
    algorithm: str = "sha256"
    timestamp: int | None = None
    """Seconds since 1970, where the sender signs them."""
    needs_timestamp: bool = False
    identity: str | None = None
    """The sender's own name for the delivery."""

    @property
    def digest(self) -> str:
        """What tells this delivery from others, where the sender does not: time and body as they were signed."""
        return hashlib.sha256(self.content).hexdigest()


def read_fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by name. Raise `RequestError` if one that any hook reads is repeated or malformed."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1")
        if name in found:
            value = _repeated(name, found[name], value)
        found[name] = value
        form = _FORMS.get(name)
        if form is not None and not form[0].fullmatch(value):
            raise RequestError(f"Malformed header {name}: {form[1]}.")
    return found


def _repeated(name: str, before: str, value: str) -> str:
    if name in _SINGLE:
        raise RequestError(f"The header {name} is there twice.")
    # One trace alone can be gone on with; its state may come in parts.
    if name == "traceparent":
        return ""
    return f"{before},{value}" if name == "tracestate" else value


def known(trigger: TriggerDefinition | None, sent: Sent, secrets: Sequence[str], *, now_s: float) -> Claim:
    """Return what *sent* claims if one of *secrets* vouches for it and its time is within the tolerance of *now_s*.

    Raise `UnauthenticatedError` otherwise. No trigger, no header and no secrets cost the time of a wrong one.
    """
    auth: HookAuth = "standard" if trigger is None else trigger.auth
    if auth == "none":
        return Claim(content=sent.body)
    if auth in {"basic", "api_key"}:
        return _by_password(trigger, sent, secrets)
    claim = _claim(auth, None if trigger is None else trigger.signature, sent)
    keys = [key for secret in secrets if (key := _key(auth, secret)) is not None]
    matches = False
    for key in keys or (_NOBODYS,):
        expected = hmac.digest(key, claim.content, claim.algorithm)
        for signature in claim.signatures:
            matches |= hmac.compare_digest(expected, signature)
    if not (matches and keys and trigger is not None and _is_now(claim, trigger.tolerance_s, now_s)):
        raise UnauthenticatedError
    return claim


def _is_now(claim: Claim, tolerance_s: float, now_s: float) -> bool:
    if claim.timestamp is None:
        return not claim.needs_timestamp
    return abs(now_s - claim.timestamp) <= tolerance_s


def _key(auth: HookAuth, secret: str) -> bytes | None:
    """The key that *secret* stands for. Secrets were decoded once before, so that what is wrong with one is logged."""
    return decode_secret(secret) if auth == "standard" else secret.encode()


def _by_password(trigger: TriggerDefinition | None, sent: Sent, secrets: Sequence[str]) -> Claim:
    assert trigger is not None  # noqa: S101 - without one it is a standard webhook
    if trigger.auth == "basic":
        scheme, _, encoded = sent.headers.get("authorization", "").partition(" ")
        given = (_decoded(encoded.encode("latin-1"), "base64") or b"") if scheme.lower() == "basic" else b""
    else:
        given = sent.raw(trigger.header.lower())
    matches = False
    for secret in secrets or ("nobody has this one",):
        matches |= hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), hashlib.sha256(given).digest())
    if not (matches and secrets):
        hmac.digest(_NOBODYS, sent.body, "sha256")  # takes as long as a signature that is wrong
        raise UnauthenticatedError
    return Claim(content=sent.body)


def _claim(auth: HookAuth, signature: SignatureDefinition | None, sent: Sent) -> Claim:
    match auth:
        case "standard":
            return _standard(sent)
        case "github":
            signatures = _one(sent.raw("x-hub-signature-256"), b"sha256=", "hex")
            return Claim(content=sent.body, signatures=signatures, identity=sent.headers.get("x-github-delivery"))
        case "stripe":
            return _stripe(sent)
        case "slack":
            written = sent.headers.get("x-slack-request-timestamp")
            return Claim(
                content=b"v0:%s:%s" % ((written or "").encode("latin-1"), sent.body),
                signatures=_one(sent.raw("x-slack-signature"), b"v0=", "hex"),
                timestamp=None if written is None else int(written),
                needs_timestamp=True,
            )
        case "hmac":
            assert signature is not None  # noqa: S101 - a trigger without one is not saved, and not read
            return _own(signature, sent)
        case "basic" | "api_key" | "none":
            return Claim(content=sent.body)
        case _:
            assert_never(auth)


def _standard(sent: Sent) -> Claim:
    name, written = sent.headers.get("webhook-id"), sent.headers.get("webhook-timestamp")
    if name is None or written is None:
        return Claim(content=sent.body, needs_timestamp=True)
    return Claim(
        content=b"%s.%s.%s" % (name.encode(), written.encode(), sent.body),
        signatures=tuple(read_signatures(sent.raw("webhook-signature"))),
        timestamp=int(written),
        needs_timestamp=True,
        identity=name,
    )


def _stripe(sent: Sent) -> Claim:
    times: list[str] = []
    signatures: list[bytes] = []
    for part in sent.headers.get("stripe-signature", "").split(",")[: MAX_SIGNATURES + 1]:
        name, _, value = part.partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1":
            signatures.extend(_one(value.encode("latin-1"), b"", "hex"))
    written = times[0] if len(times) == 1 and _SECONDS.fullmatch(times[0]) else None
    return Claim(
        content=b"%s.%s" % ((written or "").encode(), sent.body),
        signatures=tuple(signatures),
        timestamp=None if written is None else int(written),
        needs_timestamp=True,
    )


def _own(form: SignatureDefinition, sent: Sent) -> Claim:
    written = None if form.timestamp_header is None else sent.headers.get(form.timestamp_header.lower(), "")
    is_time = written is not None and _SECONDS.fullmatch(written) is not None
    before, _, after = form.content.replace("{timestamp}", written or "" if is_time else "").partition("{body}")
    return Claim(
        content=b"%s%s%s" % (before.encode("latin-1", "replace"), sent.body, after.encode("latin-1", "replace")),
        signatures=_one(sent.raw(form.header.lower()), form.prefix.encode(), form.encoding),
        algorithm=form.algorithm,
        timestamp=int(written) if written is not None and is_time else None,
        needs_timestamp=form.timestamp_header is not None,
    )


def _one(raw: bytes, prefix: bytes, encoding: str) -> tuple[bytes, ...]:
    """The only signature of a header; none where it is not written as it should be."""
    if not raw.startswith(prefix):
        return ()
    found = _decoded(raw[len(prefix) :], encoding)
    return () if found is None else (found,)


def _decoded(raw: bytes, encoding: str) -> bytes | None:
    try:
        found = _DECODERS[encoding](raw)
    except (binascii.Error, ValueError):
        return None
    # Encoded again it must be the same: these encodings have several spellings of one value.
    written = _ENCODERS[encoding](found)
    fits = raw == written or (encoding == "base64url" and raw == written.rstrip(b"="))
    return found if fits and raw else None


_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "hex": binascii.unhexlify,
    "base64": lambda raw: base64.b64decode(raw, validate=True),
    "base64url": lambda raw: base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True),
}
_ENCODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "hex": binascii.hexlify,
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
}


def signed(trigger: TriggerDefinition, secret: str, body: bytes, *, delivery: str, now_s: int) -> dict[str, str]:
    """The headers with which a sender proves itself to a hook of *trigger*, its delivery's name among them.

    Raise `SettingsError` where *secret* is none for that way of signing.
    """
    key = _key(trigger.auth, secret) or b""
    match trigger.auth:
        case "standard":
            content = b"%s.%d.%s" % (delivery.encode(), now_s, body)
            made = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
            return {"webhook-id": delivery, "webhook-timestamp": str(now_s), "webhook-signature": f"v1,{made}"}
        case "github":
            made = hmac.digest(key, body, "sha256").hex()
            return {"x-github-event": "push", "x-github-delivery": delivery, "x-hub-signature-256": f"sha256={made}"}
        case "stripe":
            made = hmac.digest(key, b"%d.%s" % (now_s, body), "sha256").hex()
            return {"stripe-signature": f"t={now_s},v1={made}"}
        case "slack":
            made = hmac.digest(key, b"v0:%d:%s" % (now_s, body), "sha256").hex()
            return {"x-slack-request-timestamp": str(now_s), "x-slack-signature": f"v0={made}"}
        case "hmac":
            return _own_headers(trigger.signature, key, body, now_s)
        case "basic":
            return {"authorization": f"Basic {base64.b64encode(key).decode()}", "idempotency-key": delivery}
        case "api_key":
            return {trigger.header.lower(): secret, "idempotency-key": delivery}
        case "none":
            return {"idempotency-key": delivery}
        case _:
            assert_never(trigger.auth)


def _own_headers(form: SignatureDefinition | None, key: bytes, body: bytes, now_s: int) -> dict[str, str]:
    assert form is not None  # noqa: S101 - as above
    headers = {} if form.timestamp_header is None else {form.timestamp_header.lower(): str(now_s)}
    claim = _own(form, Sent(headers, body))
    made = _ENCODERS[form.encoding](hmac.digest(key, claim.content, form.algorithm)).decode()
    return {**headers, form.header.lower(): form.prefix + made}
