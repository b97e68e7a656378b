"""
API keys: made, shown once, kept as a hash, looked up by their prefix, compared in constant time.

A key reads ``cw_PREFIX_SECRET``. The secret has 256 random bits, so one round of SHA-256 keeps it as well as any
slow hash would. Steps are for either executor; nothing here loads a web framework.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cableway.errors import Fault, SettingsError, UnknownNameError
from cableway.store.executor import Step, Steps
from cableway.store.storable import storable_text
from cableway.stored.names import name_faults, refuse, taken, titled
from cableway_handlers.api.scopes import Caller, checked_pipelines, checked_scopes

MAX_EXPIRY_S = 100 * 366 * 86_400.0

_FORM = re.compile(rb"cw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODYS = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key as it is kept; of its secret there is nothing to show."""

    prefix: str
    name: str
    scopes: Sequence[str]
    pipelines: Sequence[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key and its text, which is shown now and never again."""

    key: KeyRow
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCount:
    """How many keys there have been, and how many of them still open something."""

    known: int
    live: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Whose a key's text is."""

    caller: Caller
    prefix: str
    stale: bool
    """Its last use was noted more than a minute ago."""


def create_key(
    name: str, scopes: Sequence[str], *, pipelines: Sequence[str] = (), expires_in_s: float | None = None
) -> Steps[NewKey]:
    """Make a key. Raise `SettingsError` for unknown scopes, `DefinitionError` or `TakenError` for the name."""
    refuse(titled("API key", name), name_faults(name))
    if expires_in_s is not None and not 0 < expires_in_s <= MAX_EXPIRY_S:
        message = "a key's life is more than nothing and at most a hundred years"
        raise SettingsError(message, [Fault("/expires", "range", message)])
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    text = f"cw_{prefix}_{secret}"
    rows = yield Step(
        "insert_api_key",
        {
            "prefix": prefix,
            "name": name,
            "secret_hash": _hashed(secret.encode()),
            "scopes": checked_scopes(scopes),
            "pipelines": checked_pipelines(pipelines),
            "expires_in_s": expires_in_s,
        },
    )
    if not rows:
        raise taken("API key", name)
    return NewKey(key=KeyRow(**rows[0]), text=text)


def read_keys() -> Steps[tuple[KeyRow, ...]]:
    """Every key, oldest first, those that open nothing any more included."""
    rows = yield Step("api_keys", {})
    return tuple(KeyRow(**row) for row in rows)


def count_keys() -> Steps[KeyCount]:
    """How many keys there are."""
    rows = yield Step("api_keys_counted", {})
    return KeyCount(**rows[0])


def revoke_key(name: str) -> Steps[KeyRow]:
    """Let the key of this name or prefix open nothing any more. Raise `UnknownNameError` where there is none."""
    rows = yield Step("revoke_api_key", {"name": storable_text(name)})
    if not rows:
        raise UnknownNameError(f"no {titled('API key', name)} that is not revoked")
    return KeyRow(**rows[0])


def find_key(text: bytes) -> Steps[Found | None]:
    """Whose key *text* is; None for whatever is malformed, unknown, expired, revoked or wrong. Never raises for it."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    rows = yield Step("api_key", {"prefix": form[1].decode()})
    kept: bytes = rows[0]["secret_hash"] if rows else _NOBODYS
    # Compared also where there is none, so that the time taken does not tell which prefixes there are.
    if not (hmac.compare_digest(kept, _hashed(form[2])) and rows and rows[0]["live"]):
        return None
    row = rows[0]
    pipelines = None if row["pipelines"] is None else tuple(row["pipelines"])
    caller = Caller(name=row["name"], scopes=frozenset(row["scopes"]), pipelines=pipelines)
    return Found(caller=caller, prefix=row["prefix"], stale=row["stale"])


def key_used(prefix: str) -> Steps[None]:
    """Note that the key was used just now."""
    yield Step("api_key_used", {"prefix": prefix})


def _hashed(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
