"""
Span records as OTLP requests, in protobuf or JSON, written straight from our own records.

The protobuf is made by hand: a span's fields are few and fixed, and building message objects only
to serialise them costs several times as much. Field numbers are those of
``opentelemetry/proto/trace/v1/trace.proto``; tests decode every request with the generated classes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from cableway.telemetry.record import AttributeValue, SpanEvent, SpanLink, SpanRecord

SCOPE = "cableway"
KINDS = {"internal": 1, "consumer": 5}
STATUSES = {"unset": 0, "ok": 1, "error": 2}

# W3C's sampled flag, and that the field says whether the parent is remote.
_FLAGS_LOCAL = 0x101
_FLAGS_REMOTE = 0x301
_fixed64 = struct.Struct("<BQ").pack
_double = struct.Struct("<Bd").pack
_times = struct.Struct("<BQBQ").pack
_FLAGS_LOCAL_FIELD = struct.pack("<HI", 0x0185, _FLAGS_LOCAL)
_FLAGS_REMOTE_FIELD = struct.pack("<HI", 0x0185, _FLAGS_REMOTE)
_KIND_FIELDS = {kind: bytes((0x30, number)) for kind, number in KINDS.items()}

KNOWN_LIMIT = 8_192
"""Encoded names and attributes that an encoder remembers."""

Encode = Callable[[Sequence[SpanRecord]], bytes]


class Resource:
    """Who sends: attributes, and the schema they follow."""

    __slots__ = ("attributes", "schema_url")

    def __init__(self, attributes: Mapping[str, AttributeValue], schema_url: str = "") -> None:
        self.attributes = attributes
        self.schema_url = schema_url


def protobuf_encoder(resource: Resource, version: str) -> Encode:
    """What turns records into an ``ExportTraceServiceRequest``."""
    described = _field(0x0A, b"".join(_attribute(0x0A, *pair) for pair in resource.attributes.items()))
    scope = _field(0x0A, _field(0x0A, SCOPE.encode()) + _field(0x12, version.encode()))
    schema = _field(0x1A, resource.schema_url.encode()) if resource.schema_url else b""
    known: dict[tuple[str, str], bytes] = {}

    def encode(records: Sequence[SpanRecord]) -> bytes:
        if len(known) > KNOWN_LIMIT:
            known.clear()
        spans = b"".join([_field(0x12, _span(record, known)) for record in records])
        return _field(0x0A, b"".join((described, _field(0x12, scope + spans), schema)))

    return encode


def json_encoder(resource: Resource, version: str) -> Encode:
    """What turns records into the same request as JSON: ids in hex, 64-bit numbers as text, enums as numbers."""
    described = {"attributes": _json_attributes(resource.attributes)}

    def encode(records: Sequence[SpanRecord]) -> bytes:
        spans = [_json_span(record) for record in records]
        scoped = {"scope": {"name": SCOPE, "version": version}, "spans": spans}
        entry: dict[str, Any] = {"resource": described, "scopeSpans": [scoped]}
        if resource.schema_url:
            entry["schemaUrl"] = resource.schema_url
        return json.dumps({"resourceSpans": [entry]}, separators=(",", ":")).encode()

    return encode


def _span(record: SpanRecord, known: dict[tuple[str, str], bytes]) -> bytes:
    parts = [b"\x0a\x10", bytes.fromhex(record.trace_id), b"\x12\x08", bytes.fromhex(record.span_id)]
    if record.tracestate:
        parts.append(_field(0x1A, record.tracestate.encode()))
    if record.parent_id is not None:
        parts += (b"\x22\x08", bytes.fromhex(record.parent_id))
    name = known.get(("", record.name))
    if name is None:
        name = known["", record.name] = _field(0x2A, record.name.encode())
    parts += (name, _KIND_FIELDS[record.kind], _times(0x39, record.start_ns, 0x41, record.end_ns))
    for pair in record.attributes.items():
        # Most attributes of a run are the same few pairs of texts. Other types stay out: 1 and True are equal.
        if type(pair[1]) is str:
            field = known.get(cast("tuple[str, str]", pair))
            if field is None:
                field = known[cast("tuple[str, str]", pair)] = _attribute(0x4A, *pair)
            parts.append(field)
        else:
            parts.append(_attribute(0x4A, *pair))
    if record.events:
        parts += [_field(0x5A, _event(event)) for event in record.events]
    if record.links:
        parts += [_field(0x6A, _link(link)) for link in record.links]
    if record.status != "unset":
        parts.append(_field(0x7A, _status(record)))
    parts.append(_FLAGS_REMOTE_FIELD if record.remote_parent else _FLAGS_LOCAL_FIELD)
    return b"".join(parts)


def _status(record: SpanRecord) -> bytes:
    code = bytes((0x18, STATUSES[record.status]))
    return _field(0x12, record.message.encode()) + code if record.message else code


def _event(event: SpanEvent) -> bytes:
    attributes = b"".join([_attribute(0x1A, key, value) for key, value in event.attributes.items()])
    return _fixed64(0x09, event.at_ns) + _field(0x12, event.name.encode()) + attributes


def _link(link: SpanLink) -> bytes:
    return b"\x0a\x10" + bytes.fromhex(link.trace_id) + b"\x12\x08" + bytes.fromhex(link.span_id)


def _attribute(tag: int, key: str, value: AttributeValue) -> bytes:
    return _field(tag, _field(0x0A, key.encode()) + _field(0x12, _any_value(value)))


def _any_value(value: AttributeValue) -> bytes:
    match value:
        case str():
            return _field(0x0A, value.encode())
        case bool():
            return b"\x10\x01" if value else b"\x10\x00"
        case int():
            return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        case float():
            return _double(0x21, value)
        case tuple():
            return _field(0x2A, b"".join([_field(0x0A, _any_value(member)) for member in value]))


def _field(tag: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 0x80:
        return bytes((tag, size)) + payload
    if size < 0x4000:
        return bytes((tag, size & 0x7F | 0x80, size >> 7)) + payload
    return bytes((tag,)) + _varint(size) + payload


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _json_span(record: SpanRecord) -> dict[str, Any]:
    span: dict[str, Any] = {
        "traceId": record.trace_id,
        "spanId": record.span_id,
        "name": record.name,
        "kind": KINDS[record.kind],
        "startTimeUnixNano": str(record.start_ns),
        "endTimeUnixNano": str(record.end_ns),
        "attributes": _json_attributes(record.attributes),
        "flags": _FLAGS_REMOTE if record.remote_parent else _FLAGS_LOCAL,
        "status": _json_status(record),
    }
    if record.parent_id is not None:
        span["parentSpanId"] = record.parent_id
    if record.tracestate:
        span["traceState"] = record.tracestate
    if record.events:
        span["events"] = [
            {
                "timeUnixNano": str(event.at_ns),
                "name": event.name,
                "attributes": _json_attributes(event.attributes),
            }
            for event in record.events
        ]
    if record.links:
        span["links"] = [{"traceId": link.trace_id, "spanId": link.span_id} for link in record.links]
    return span


def _json_status(record: SpanRecord) -> dict[str, Any]:
    if record.status == "unset":
        return {}
    code: dict[str, Any] = {"code": STATUSES[record.status]}
    return code | {"message": record.message} if record.message else code


def _json_attributes(attributes: Mapping[str, AttributeValue]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in attributes.items()]


def _json_value(value: AttributeValue) -> dict[str, Any]:
    match value:
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case tuple():
            return {"arrayValue": {"values": [_json_value(member) for member in value]}}


class MalformedReplyError(ValueError):
    """A collector's reply cannot be read."""


def rejected_count(body: bytes, content_type: str) -> int:
    """How many of a request's records the collector did not take (``rejected_spans`` or its like for metrics).

    An empty reply means that all were taken. Raise `MalformedReplyError` for what is no reply at all.
    """
    if not body:
        return 0
    try:
        if "json" in content_type:
            found: Any = json.loads(body).get("partialSuccess")
            return max(0, int(found.get("rejectedSpans") or found.get("rejectedDataPoints") or 0)) if found else 0
        partial = _message(body).get(1, b"")
        count = _message(partial).get(1, 0) if isinstance(partial, bytes) else 0
        return count if isinstance(count, int) and count < 1 << 63 else 0
    except (ValueError, AttributeError, TypeError, IndexError, RecursionError) as error:
        raise MalformedReplyError(f"{len(body)} bytes of {content_type or 'no content type'}") from error


def _message(body: bytes) -> dict[int, int | bytes]:
    """The last value of each field; enough for a message of two scalars."""
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(body):
        key, at = _read_varint(body, at)
        match key & 7:
            case 0:
                fields[key >> 3], at = _read_varint(body, at)
            case 2:
                size, at = _read_varint(body, at)
                if at + size > len(body):
                    raise ValueError("cut short")
                fields[key >> 3], at = body[at : at + size], at + size
            case 1:
                at += 8
            case 5:
                at += 4
            case wire:
                raise ValueError(f"wire type {wire}")
    return fields


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("too long")
