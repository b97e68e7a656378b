"""
The W3C trace context: ids, and the ``traceparent`` and ``tracestate`` that carry them on.

What comes from outside is read strictly and never believed in more than its ids: whoever sends a
``sampled`` flag does not decide what we record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

TRACEPARENT_LIMIT = 256
"""Characters above which a ``traceparent`` is not looked at."""

TRACESTATE_LIMIT = 512
"""Characters above which a ``tracestate`` is not carried on."""

_POOL_BYTES = 4096
_HEX = frozenset("0123456789abcdef")


class IdPool:
    """Random ids in hex, cut from one block of random bytes at a time. Not for two threads at once."""

    __slots__ = ("_at", "_hex")

    def __init__(self) -> None:
        self._hex = ""
        self._at = 0

    def span_id(self) -> str:
        """A new span id: 16 hex digits."""
        at = self._at
        if at + 16 > len(self._hex):
            self._hex = os.urandom(_POOL_BYTES).hex()
            at = 0
        self._at = at + 16
        return self._hex[at : at + 16]


class SpanIds:
    """The ids of the spans below an item's, counted on from its own: random enough, and the same each time."""

    __slots__ = ("_last",)

    def __init__(self, span_id: str) -> None:
        self._last = int(span_id, 16)

    def next(self) -> str:
        """The next id."""
        self._last = self._last % 0xFFFF_FFFF_FFFF_FFFF + 1
        return f"{self._last:016x}"


def new_trace_id() -> str:
    """A new trace id: 32 hex digits."""
    return os.urandom(16).hex()


class Remote(NamedTuple):
    """The caller's span, which a run's trace goes on from."""

    trace_id: str
    span_id: str
    tracestate: str = ""


def parse_remote(traceparent: str | None, tracestate: str | None = None) -> Remote | None:
    """The caller's span, or None where *traceparent* is not valid to the letter or has an all-zero id."""
    if not traceparent or len(traceparent) > TRACEPARENT_LIMIT:
        return None
    version, *fields = traceparent.split("-")
    # A later version may add fields; this one has three and no other.
    if len(fields) < 3 or version == "ff" or (version == "00" and len(fields) > 3):
        return None
    trace_id, span_id, flags = fields[:3]
    for field, length in ((version, 2), (trace_id, 32), (span_id, 16), (flags, 2)):
        if len(field) != length or not _HEX.issuperset(field):
            return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Remote(trace_id, span_id, clean_tracestate(tracestate))


def clean_tracestate(tracestate: str | None) -> str:
    """*tracestate* as it may be carried on; empty where it is too long or any member is malformed."""
    if not tracestate or len(tracestate) > TRACESTATE_LIMIT:
        return ""
    members = [member.strip(" \t") for member in tracestate.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > 32 or len(keys) != len(members):
        return ""
    if not all(_is_state_member(member) for member in members):
        return ""
    return ",".join(members)


def _is_state_member(member: str) -> bool:
    # Compiled where it is used: most runs never see one, and compiling takes longer than their import.
    key = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    value = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
    return re.fullmatch(f"{key}={value}", member) is not None


def carrier_of(trace_id: str, span_id: str, tracestate: str, *, sampled: bool) -> Mapping[str, str]:
    """What carries a span's context to whoever works under it."""
    carrier = {"traceparent": f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"}
    if tracestate:
        carrier["tracestate"] = tracestate
    return carrier
