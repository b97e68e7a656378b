"""A signed webhook becomes one durable run; whatever is refused leaves nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import httpx
import pytest

from cableway_handlers.api.signature import decode_secret
from cableway_handlers.launch import Launch
from tests.integration.api.conftest import Api
from tests.integration.api.sending import webhook
from tests.integration.api.serving import NO_TLS

OTHER_TEXT = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg=="
PROBLEM = "application/problem+json"
HEAD = "POST /hooks/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_signed_webhook_becomes_a_queued_run(api: Api) -> None:
    response = api.send(webhook(api.url, b'{"day": "2026-01-31", "count": 3}', id="msg_1"))
    assert response.status_code == 202
    run_id = response.json()["run_id"]
    assert response.headers["location"] == f"/runs/{run_id}"
    (run,) = api.database.rows(
        "SELECT run_id::text, pipeline, version, state, parameters, trigger_name FROM cableway.runs"
    )
    assert run == {
        "run_id": run_id,
        "pipeline": "orders",
        "version": 1,
        "state": "queued",
        "parameters": {"day": "2026-01-31", "count": 3},
        "trigger_name": "orders",
    }
    assert api.launches.launches == [Launch(run_id, 1)]
    shown = api.client.get(response.headers["location"])
    assert (shown.status_code, shown.json()["state"]) == (200, "queued")


def test_an_empty_body_is_a_run_with_the_default_parameters(api: Api) -> None:
    assert api.send(webhook(api.url, b"")).status_code == 202
    assert api.database.rows("SELECT parameters ->> 'day' AS day FROM cableway.runs") == [{"day": "today"}]


@pytest.mark.promise("P3")
def test_the_same_webhook_again_is_answered_with_the_same_run(api: Api) -> None:
    first = api.send(webhook(api.url, id="msg_1"))
    again = api.send(webhook(api.url, id="msg_1", sent_ago_s=10))
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert len(api.launches.launches) == 1


@pytest.mark.promise("P3")
@pytest.mark.fault("E5")
def test_the_same_id_with_another_body_is_refused(api: Api) -> None:
    assert api.send(webhook(api.url, id="msg_1")).status_code == 202
    refused = api.send(webhook(api.url, b'{"day": "2026-02-01"}', id="msg_1"))
    assert_problem(refused, 422, "key_reused")
    assert api.database.rows("SELECT count(*) FROM cableway.runs") == [{"count": 1}]
    assert len(api.launches.launches) == 1


def test_two_hooks_of_one_pipeline_may_get_the_same_id(api: Api) -> None:
    api.database.add_hook("other", "env:ORDERS_SECRET")
    ids = {api.send(webhook(api.url, id="msg_1", hook=hook)).json()["run_id"] for hook in ("orders", "other")}
    assert len(ids) == 2


@pytest.mark.promise("P1")
@pytest.mark.fault("E4")
async def test_a_hundred_replays_at_once_make_one_run(api: Api) -> None:
    async with httpx.AsyncClient(
        timeout=30, trust_env=False, verify=NO_TLS, limits=httpx.Limits(max_connections=100)
    ) as client:
        responses = await asyncio.gather(*(client.send(webhook(api.url, id="msg_1")) for _ in range(100)))
    codes = sorted(response.status_code for response in responses)
    assert codes == [200] * 99 + [202]
    assert len({response.json()["run_id"] for response in responses}) == 1
    assert api.database.rows("SELECT count(*) FROM cableway.runs") == [{"count": 1}]
    assert len(api.launches.launches) == 1


REFUSED: list[tuple[Callable[[str], httpx.Request], int, str]] = [
    (lambda url: webhook(url, webhook_signature="v1,AAAA"), 401, "unauthenticated"),
    (lambda url: webhook(url, secret=b"x" * 24), 401, "unauthenticated"),
    (lambda url: webhook(url, sent_ago_s=301), 401, "unauthenticated"),
    (lambda url: webhook(url, sent_ago_s=-310), 401, "unauthenticated"),
    (lambda url: webhook(url, hook="nobody"), 401, "unauthenticated"),
    (lambda url: webhook(url, hook=""), 401, "unauthenticated"),
    (lambda url: webhook(url, hook="%00"), 401, "unauthenticated"),
    (lambda url: webhook(url, hook="orders/more"), 401, "unauthenticated"),
    (lambda url: webhook(url, hook="disabled"), 401, "unauthenticated"),
    (lambda url: webhook(url, hook="misconfigured"), 401, "unauthenticated"),
    (lambda url: webhook(url, hook="written"), 401, "unauthenticated"),
    (lambda url: webhook(url, id="a.b"), 400, "bad_request"),
    (lambda url: webhook(url, webhook_timestamp="NaN"), 400, "bad_request"),
    (lambda url: webhook(url, content_type="text/plain"), 415, "media_type"),
    (lambda url: webhook(url, content_type=""), 415, "media_type"),
    (lambda url: webhook(url, content_type="application/json; charset=utf-16"), 415, "media_type"),
    (lambda url: webhook(url, content_encoding="gzip"), 415, "media_type"),
    (lambda url: webhook(url, b'{"a": "' + b"x" * 64 * 1024 + b'"}'), 413, "too_large"),
    (lambda url: webhook(url, b'{"day": NaN}'), 400, "bad_request"),
    (lambda url: webhook(url, b"[1]"), 422, "payload"),
    (lambda url: webhook(url, b'{"count": "many"}'), 422, "parameters"),
    (lambda url: webhook(url, b'{"unknown": 1}'), 422, "parameters"),
    (lambda url: webhook(url, hook="lost"), 404, "unknown_pipeline"),
    (lambda url: httpx.Request("GET", f"{url}/hooks/orders"), 405, "method_not_allowed"),
    (lambda url: httpx.Request("POST", f"{url}/hooks/orders", json={}), 401, "unauthenticated"),
]


@pytest.mark.fault("E1")
@pytest.mark.fault("E9")
@pytest.mark.fault("E12")
@pytest.mark.promise("P24")
def test_what_is_refused_is_a_problem_and_leaves_nothing(api: Api) -> None:
    api.database.add_hook("disabled", "env:ORDERS_SECRET", enabled=False)
    api.database.add_hook("misconfigured", "env:NOT_THERE")
    api.database.add_hook("written", "env:NOT_THERE")
    secrets = '{"secrets": ["env:DATABASE_PASSWORD", "file:/etc/passwd", "plain"]}'
    api.database.execute("UPDATE cableway.triggers SET config = %s::json WHERE name = 'misconfigured'", secrets)
    api.database.execute("UPDATE cableway.triggers SET config = '{\"auth\": 5, \"x\": 1}' WHERE name = 'written'")
    api.database.add_hook("lost", "env:ORDERS_SECRET", pipeline="not-there")
    for make, status, code in REFUSED:
        assert_problem(api.send(make(api.url)), status, code)
    for table in ("runs", "deliveries"):
        assert api.database.rows(f"SELECT count(*) FROM cableway.{table}") == [{"count": 0}]
    assert api.launches.launches == []


@pytest.mark.fault("E8")
def test_an_unknown_hook_and_a_wrong_signature_get_the_same_words(api: Api) -> None:
    wrong = api.send(webhook(api.url, secret=b"x" * 24))
    unknown = api.send(webhook(api.url, hook="nobody"))
    words = [{**response.json(), "instance": None} for response in (wrong, unknown)]
    assert words[0] == words[1]
    assert set(wrong.headers) == set(unknown.headers)


@pytest.mark.fault("E13")
def test_a_refused_value_is_not_repeated(api: Api) -> None:
    refused = api.send(webhook(api.url, b'{"count": "hunter2", "hunter3": 1}'))
    assert refused.status_code == 422
    assert "hunter2" not in refused.text


@pytest.mark.fault("E6")
def test_secrets_rotate_without_a_restart(api: Api) -> None:
    api.database.add_hook("rotated", "env:NEW_SECRET", "env:ORDERS_SECRET")
    assert api.send(webhook(api.url, hook="rotated")).status_code == 202
    api.environment["NEW_SECRET"] = OTHER_TEXT
    assert api.send(webhook(api.url, hook="rotated", secret=decode_secret(OTHER_TEXT))).status_code == 202
    assert api.send(webhook(api.url, hook="rotated")).status_code == 202
    api.environment["ORDERS_SECRET"] = OTHER_TEXT
    assert api.send(webhook(api.url, hook="rotated")).status_code == 401


@pytest.mark.parametrize(
    ("traceparent", "kept"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("garbage", False),
    ],
)
def test_the_callers_trace_goes_on_in_the_run(api: Api, traceparent: str, kept: bool) -> None:
    assert api.send(webhook(api.url, traceparent=traceparent, tracestate="a=1")).status_code == 202
    (run,) = api.database.rows("SELECT traceparent, tracestate FROM cableway.runs")
    assert (run["traceparent"], run["tracestate"]) == ((traceparent, "a=1") if kept else (None, None))


def test_a_body_that_does_not_come_is_not_waited_for(api: Api) -> None:
    head = HEAD + "Content-Length: 10\r\n\r\n{"
    assert answer_to(api, head.encode()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.fault("E9")
def test_a_chunked_body_over_the_limit_is_cut_off(api: Api) -> None:
    head = (
        "POST /hooks/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert answer_to(api, head.encode() + chunk * 5).startswith(b"HTTP/1.1 413 ")


@pytest.mark.fault("E9")
def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(api: Api) -> None:
    head = (
        "POST /hooks/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    )
    assert answer_to(api, head.encode()).startswith(b"HTTP/1.1 413 ")


def answer_to(api: Api, raw: bytes) -> bytes:
    """What the server says to bytes as they are, until it closes."""
    address = httpx.URL(api.url)
    with socket.create_connection((address.host, address.port or 0), timeout=20) as connection:
        connection.sendall(raw)
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
            if b"}" in answer:
                break
        return bytes(answer)


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM), response.text
    problem = response.json()
    assert (problem["status"], problem["type"]) == (status, f"urn:cableway:error:{code}")
    assert problem["instance"].startswith("urn:uuid:")
