"""Cloud events in one form, with a key that every delivery shares; and which triggers they are for."""

from __future__ import annotations

from typing import Any

import pytest

from cableway.errors import SettingsError
from cableway_handlers.events.cloud import CloudEvent, events, is_sqs, messages
from cableway_handlers.events.desk import make_trigger

EVENT = CloudEvent(
    key="k",
    payload={"n": 1},
    source="aws.s3",
    detail_type="Object Created",
    bucket="inbox",
    object_key="in/a.csv",
    queue="arn:aws:sqs:eu-west-1:1:arrivals",
    rules=("arn:aws:events:eu-west-1:1:rule/hourly",),
)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"source": "aws.s3"}, True),
        ({"source": "aws.s3", "detail_type": "Object Deleted"}, False),
        ({"bucket": "inbox", "prefix": "in/", "suffix": ".csv"}, True),
        ({"bucket": "inbox", "suffix": ".json"}, False),
        ({"bucket": "in"}, False),
        ({"queue": "arrivals"}, True),
        ({"queue": "arn:aws:sqs:eu-west-1:1:arrivals"}, True),
        ({"queue": "rivals"}, False),
        ({"rule": "hourly"}, True),
        ({"rule": "arn:aws:events:eu-west-1:1:rule/daily"}, False),
    ],
)
def test_a_trigger_is_for_what_matches_in_all(match: dict[str, str], fits: bool) -> None:
    assert make_trigger("t", "p", {"match": match}).fits(EVENT) is fits


def test_a_trigger_maps_what_it_wants_and_leaves_the_rest() -> None:
    trigger = make_trigger("t", "p", {"match": {"source": "x"}, "when": "$.n == 1", "parameters": {"n": "$.n", "m": 5}})
    request = trigger.request(EVENT)
    assert request is not None
    assert (request.parameters, request.key) == ({"n": 1, "m": 5}, "event:t:k")
    other = make_trigger("t", "p", {"match": {"source": "x"}, "when": "$.n == 2"})
    assert other.request(EVENT) is None


@pytest.mark.parametrize("config", [{}, {"match": None}, {"match": {"moon": "full"}}, {"match": {}, "x": 1}])
def test_a_config_that_is_none_is_no_trigger(config: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        make_trigger("t", "p", config)


def test_both_ways_in_which_s3_tells_have_one_key() -> None:
    bridged = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "b"}, "object": {"key": "a b/ü.csv", "sequencer": "1"}},
    }
    stored = {"key": "a+b/%C3%BC.csv", "sequencer": "1", "eTag": "e"}
    notified = {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Copy",
                "s3": {"bucket": {"name": "b"}, "object": stored},
            }
        ]
    }
    (one,), (other,) = events(bridged), events(notified)
    assert (one.key, one.object_key) == (other.key, other.object_key)
    assert other.payload["detail"]["object"]["etag"] == "e"
    long = {**bridged, "detail": {"bucket": {"name": "b"}, "object": {"key": "x" * 1024, "sequencer": "1"}}}
    assert len(events(long)[0].key) < 100


NO_EVENTS: list[dict[str, Any]] = [
    {},
    {"Records": None},
    {"Records": [1, {"eventSource": "aws:s3"}, {"eventSource": "aws:s3", "s3": []}]},
    {"source": "x"},
]


@pytest.mark.parametrize("event", NO_EVENTS)
def test_what_is_no_event_tells_nothing(event: dict[str, Any]) -> None:
    assert events(event) == []
    assert not is_sqs(event)


def test_odd_messages_are_messages_still() -> None:
    odd = ["", "[" * 100_000, "5", "null", '{"source": 1, "detail-type": 2, "detail": 3}', '{"Records": [{}]}']
    batch = {"Records": [{"eventSource": "aws:sqs", "messageId": str(n), "body": body} for n, body in enumerate(odd)]}
    assert is_sqs(batch)
    assert [len(message.events) for message in messages(batch)] == [1] * len(odd)
