"""
Cloud events as AWS delivers them, in one form: EventBridge, S3 notifications, and SQS messages that carry either.

Each has a key that every delivery of it shares, whichever way it came: the scheduled time for a rule or a schedule,
the object's sequencer for S3, the event's or the message's own id for all else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote_plus

MAX_KEY = 400
"""Characters of a key; a longer one is cut to its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """Something that happened in the cloud."""

    key: str
    """The same for each delivery of it."""
    payload: Any
    """As mappings see it."""
    source: str = ""
    detail_type: str = ""
    bucket: str | None = None
    object_key: str | None = None
    queue: str | None = None
    """The ARN of the SQS queue that it came through."""
    rules: tuple[str, ...] = ()
    """The ARNs of the EventBridge rules or schedules that it came from."""


@dataclass(frozen=True, slots=True)
class Message:
    """An SQS message: the events in it, or none where its text is no event that anybody could know."""

    message_id: str
    events: tuple[CloudEvent, ...]


def is_sqs(event: Mapping[str, Any]) -> bool:
    """Whether *event* is a batch of SQS messages."""
    return any(record.get("eventSource") == "aws:sqs" for record in _records(event))


def messages(event: Mapping[str, Any]) -> list[Message]:
    """The messages of an SQS batch."""
    return [_message(record) for record in _records(event)]


def events(event: Mapping[str, Any]) -> list[CloudEvent]:
    """What *event*, an EventBridge event or an S3 notification, tells; nothing where it is neither."""
    if "detail-type" in event and "source" in event:
        return [_bridged(event)]
    return list(_notified(event))


def _records(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = event.get("Records")
    listed = cast("Sequence[object]", found) if isinstance(found, list) else ()
    return [cast("Mapping[str, Any]", record) for record in listed if isinstance(record, Mapping)]


def _message(record: Mapping[str, Any]) -> Message:
    message_id, queue = str(record.get("messageId", "")), str(record.get("eventSourceARN", ""))
    try:
        payload: object = json.loads(str(record.get("body", "")))
    except (ValueError, RecursionError):
        payload = str(record.get("body", ""))
    inner: list[CloudEvent] = []
    if isinstance(payload, Mapping):
        fields = cast("Mapping[str, Any]", payload)
        if fields.get("Event") == "s3:TestEvent":
            return Message(message_id, ())
        inner = events(fields)
    if not inner:
        inner = [CloudEvent(key=f"sqs:{message_id}", payload=payload, source="aws.sqs")]
    return Message(message_id, tuple(_through(queue, each) for each in inner))


def _through(queue: str, event: CloudEvent) -> CloudEvent:
    return CloudEvent(
        key=event.key,
        payload=event.payload,
        source=event.source,
        detail_type=event.detail_type,
        bucket=event.bucket,
        object_key=event.object_key,
        queue=queue,
        rules=event.rules,
    )


def _bridged(event: Mapping[str, Any]) -> CloudEvent:
    source, kind = str(event["source"]), str(event["detail-type"])
    found = event.get("resources")
    resources = cast("Sequence[object]", found) if isinstance(found, list) else ()
    rules = tuple(str(resource) for resource in resources if ":rule/" in str(resource) or ":schedule/" in str(resource))
    detail = _fields(event.get("detail"))
    bucket, name = _object(detail)
    if kind in {"Scheduled Event", "Scheduled EventBridge Event"} and rules:
        key = f"rule:{rules[0]}:{event.get('time')}"
    elif source == "aws.s3" and bucket is not None:
        key = _object_key(bucket, name or "", _fields(detail["object"]), kind)
    else:
        key = f"event:{event.get('id')}"
    return CloudEvent(
        key=key, payload=event, source=source, detail_type=kind, bucket=bucket, object_key=name, rules=rules
    )


def _object(detail: Mapping[str, Any]) -> tuple[str | None, str | None]:
    bucket, stored = _fields(detail.get("bucket")), _fields(detail.get("object"))
    return (str(bucket.get("name")), str(stored.get("key"))) if bucket and stored else (None, None)


def _fields(value: object) -> Mapping[str, Any]:
    """*value* where it is an object, else one without members."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _notified(event: Mapping[str, Any]) -> Iterator[CloudEvent]:
    """S3's own notifications, in the form in which EventBridge tells the same."""
    for record in _records(event):
        found = _fields(record.get("s3"))
        if record.get("eventSource") != "aws:s3" or not found:
            continue
        stored = dict(_fields(found.get("object")))
        # Here, and only here, the key comes encoded.
        stored["key"] = unquote_plus(str(stored.get("key", "")))
        for theirs, ours in (("eTag", "etag"), ("versionId", "version-id")):
            if theirs in stored:
                stored[ours] = stored.pop(theirs)
        bucket = str(_fields(found.get("bucket")).get("name"))
        name = str(record.get("eventName", ""))
        kind = "Object Created" if name.startswith("ObjectCreated") else name
        detail = {"bucket": {"name": bucket}, "object": stored, "reason": name.partition(":")[2]}
        payload = {
            "source": "aws.s3",
            "detail-type": kind,
            "time": record.get("eventTime"),
            "region": record.get("awsRegion"),
            "resources": [f"arn:aws:s3:::{bucket}"],
            "detail": detail,
        }
        yield CloudEvent(
            key=_object_key(bucket, stored["key"], stored, kind),
            payload=payload,
            source="aws.s3",
            detail_type=kind,
            bucket=bucket,
            object_key=stored["key"],
        )


def _object_key(bucket: str, name: str, stored: Mapping[str, Any], kind: str) -> str:
    told = stored.get("sequencer") or stored.get("version-id") or stored.get("etag")
    key = f"s3:{kind}:{bucket}/{name}:{told}"
    if len(key) <= MAX_KEY and key.isprintable():
        return key
    import hashlib

    return f"s3:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"
