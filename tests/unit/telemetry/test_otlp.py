from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from cableway.telemetry.otlp import MalformedReplyError, Resource, json_encoder, protobuf_encoder, rejected_count
from cableway.telemetry.record import AttributeValue, SpanEvent, SpanLink, SpanRecord, bounded
from tests.fixtures.collector import check_known, ids_as_base64

FULL = SpanRecord(
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b7",
    parent_id="00f067aa0ba902b8",
    name="wörk " + "x" * 200,
    start_ns=1_760_000_000_000_000_000,
    end_ns=1_760_000_000_000_000_001,
    attributes={"text": "é", "flag": True, "number": -5, "share": 0.5, "list": ("a", "b"), "one": 1},
    kind="consumer",
    status="error",
    message="boom",
    events=[SpanEvent("retry", 1_760_000_000_000_000_000, {"attempt": 1})],
    links=[SpanLink("5bf92f3577b34da6a3ce929d0e0e4736", "10f067aa0ba902b7")],
    tracestate="a=b",
    remote_parent=True,
)
BARE = SpanRecord("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b8", None, "item", 1, 2, {})
RESOURCE = Resource({"service.name": "etl"}, "https://schema")


def decoded_protobuf(*records: SpanRecord) -> Any:
    request: Any = ExportTraceServiceRequest()
    request.ParseFromString(protobuf_encoder(RESOURCE, "1.2")(records))
    return request


def decoded_json(*records: SpanRecord) -> Any:
    request: Any = ExportTraceServiceRequest()
    Parse(ids_as_base64(json_encoder(RESOURCE, "1.2")(records)), request)
    return request


def test_a_span_arrives_as_it_was() -> None:
    request = decoded_protobuf(FULL, BARE)
    check_known(request)
    (resource,) = request.resource_spans
    assert resource.resource.attributes[0].value.string_value == "etl"
    assert (resource.schema_url, resource.scope_spans[0].scope.version) == ("https://schema", "1.2")
    span, bare = resource.scope_spans[0].spans
    assert span.trace_id.hex() == FULL.trace_id
    assert span.parent_span_id.hex() == FULL.parent_id
    assert (span.name, span.trace_state, span.kind, span.flags) == (FULL.name, "a=b", 5, 0x301)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1
    values = {each.key: each.value for each in span.attributes}
    assert values["text"].string_value == "é"
    assert values["flag"].bool_value is True
    assert values["number"].int_value == -5
    assert values["one"].WhichOneof("value") == "int_value"
    assert values["share"].double_value == 0.5
    assert [each.string_value for each in values["list"].array_value.values] == ["a", "b"]
    assert (span.status.code, span.status.message) == (2, "boom")
    assert (span.events[0].name, span.events[0].attributes[0].value.int_value) == ("retry", 1)
    assert span.links[0].span_id.hex() == "10f067aa0ba902b7"
    assert (bare.parent_span_id, bare.kind, bare.flags, bare.HasField("status")) == (b"", 1, 0x101, False)


def test_json_says_the_same() -> None:
    in_json = decoded_json(FULL, BARE)
    for span in in_json.resource_spans[0].scope_spans[0].spans:
        if not span.status.code:
            span.ClearField("status")
    assert in_json == decoded_protobuf(FULL, BARE)


@given(st.dictionaries(st.text(max_size=20), st.text() | st.integers() | st.floats() | st.booleans() | st.binary()))
def test_any_attribute_arrives_the_same_both_ways(values: dict[str, Any]) -> None:
    clean: dict[str, AttributeValue] = {}
    for key, value in values.items():
        found = bounded(value)
        if found is not None:
            clean[str(bounded(key))] = found
    record = SpanRecord(FULL.trace_id, FULL.span_id, None, "item", 1, 2, clean, status="ok")
    both = decoded_protobuf(record), decoded_json(record)
    assert both[0] == both[1]
    assert len(both[0].resource_spans[0].scope_spans[0].spans[0].attributes) == len(clean)


def test_a_partial_success_is_counted_in_both_forms() -> None:
    reply: Any = ExportTraceServiceResponse()
    reply.partial_success.rejected_spans = 300
    reply.partial_success.error_message = "too old"
    assert rejected_count(reply.SerializeToString(), "application/x-protobuf") == 300
    assert rejected_count(b'{"partialSuccess": {"rejectedSpans": "7"}}', "application/json") == 7
    assert rejected_count(b"{}", "application/json; charset=utf-8") == 0
    assert rejected_count(b"", "") == 0


@pytest.mark.parametrize("body", [b"<html>no</html>", b"\x0a\xff", b"\xff" * 40, b"\x0b"])
def test_a_reply_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedReplyError):
        rejected_count(body, "application/x-protobuf")
    with pytest.raises(MalformedReplyError):
        rejected_count(body, "application/json")
