"""
A span as we keep it: what the local copy, the waterfall and the export are all made of.

Attribute names follow OpenTelemetry's semantic conventions where one exists, else ``cableway.*``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

from cableway.store.port import SpanRow

AttributeValue = str | bool | int | float | tuple[str, ...]
Attributes = dict[str, AttributeValue]
Kind = Literal["internal", "consumer"]
Status = Literal["unset", "ok", "error"]

TEXT_LIMIT = 1024
"""Characters that an attribute keeps of a text."""
MEMBERS_LIMIT = 32
"""Members that an attribute keeps of a list."""
LINKS_LIMIT = 128
"""Links that one span keeps."""
EVENTS_LIMIT = 32
"""Events that one span keeps."""

RUN_ID = "cableway.run.id"
PIPELINE = "cableway.pipeline.name"
VERSION = "cableway.pipeline.version"
ATTEMPT = "cableway.run.attempt"
STATE = "cableway.run.state"
EXIT_CODE = "cableway.run.exit_code"
ITEM_ID = "cableway.item.id"
ITEM_PARENTS = "cableway.item.parents"
ITEM_PARENTS_COUNT = "cableway.item.parents.count"
DERIVATION = "cableway.item.derivation"
OUTCOME = "cableway.item.outcome"
STAGE = "cableway.stage.name"
BLOC = "cableway.bloc.name"
LANE = "cableway.lane"
SPAN_TYPE = "cableway.span.type"
ATTEMPTS = "cableway.unit.attempts"
DELAY_S = "cableway.retry.delay_s"
# Semantic conventions.
ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
PROCESS_PID = "process.pid"


class SpanEvent(NamedTuple):
    """Something that happened within a span. Time in Unix nanoseconds."""

    name: str
    at_ns: int
    attributes: Attributes


class SpanLink(NamedTuple):
    """Another span of any trace that this one comes from."""

    trace_id: str
    span_id: str


class SpanRecord:
    """A finished span. Times are Unix nanoseconds, ids are hex."""

    # Written out, as a dataclass of this size takes a job's start a millisecond.
    __slots__ = (
        "attributes",
        "end_ns",
        "events",
        "kind",
        "links",
        "message",
        "name",
        "parent_id",
        "remote_parent",
        "span_id",
        "start_ns",
        "status",
        "trace_id",
        "tracestate",
    )

    def __init__(  # noqa: PLR0913 - a span has that much to say
        self,
        trace_id: str,
        span_id: str,
        parent_id: str | None,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes,
        *,
        kind: Kind = "internal",
        status: Status = "unset",
        message: str = "",
        events: Sequence[SpanEvent] = (),
        links: Sequence[SpanLink] = (),
        tracestate: str = "",
        remote_parent: bool = False,
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.name = name
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.attributes = attributes
        self.kind: Kind = kind
        self.status: Status = status
        self.message = message
        self.events = events
        self.links = links
        self.tracestate = tracestate
        self.remote_parent = remote_parent

    def row(self) -> SpanRow:
        """The span as the run store keeps it."""
        attributes: dict[str, Any] = dict(self.attributes)
        if self.message:
            attributes["cableway.status.message"] = self.message
        return SpanRow(
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent_span_id=self.parent_id,
            name=self.name,
            kind=self.kind,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            status=self.status,
            attributes=attributes,
            events=[{"name": each.name, "at_ns": each.at_ns, **each.attributes} for each in self.events],
        )


class Clock:
    """Monotonic readings as Unix time, by one offset for a whole run: spans never go backwards."""

    __slots__ = ("offset_ns",)

    def __init__(self) -> None:
        self.offset_ns = time.time_ns() - time.monotonic_ns()

    def unix_ns(self, monotonic_ns: int) -> int:
        """The Unix nanoseconds of a `time.monotonic_ns` reading."""
        return monotonic_ns + self.offset_ns


def text(value: str, limit: int = TEXT_LIMIT) -> str:
    """*value* as any store and wire takes it: valid UTF-8, no NUL, at most *limit* characters."""
    if len(value) > limit:
        value = value[: limit - 1] + "…"
    if value.isascii() and "\0" not in value:
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def bounded(value: object) -> AttributeValue | None:
    """*value* as an attribute: short, flat and encodable; None for None, the type's name for what is neither."""
    match value:
        case None:
            return None
        case bool():
            return value
        case int():
            return int(value) if -(1 << 63) <= value < 1 << 63 else f"{'-' if value < 0 else ''}2**{value.bit_length()}"
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case str():
            return text(value)
        case bytes() | bytearray():
            return text(bytes(value[:TEXT_LIMIT]).decode("utf-8", "backslashreplace"))
        case list() | tuple():
            members = cast("Sequence[object]", value)[:MEMBERS_LIMIT]
            return tuple(_member(each) for each in members)
        case _:
            return f"<{type(value).__qualname__}>"


def _member(value: object) -> str:
    """A list inside a list is named, not followed: it may hold itself."""
    name = type(value).__name__
    found = f"<{name}>" if isinstance(value, list | tuple) else bounded(value)
    return found if isinstance(found, str) else str(found)
