"""What a client sends again, how long it waits, and what it makes of answers; without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import formatdate
from inspect import signature
from ssl import CERT_REQUIRED, SSLContext
from time import time
from typing import assert_type

import httpx
import pytest

from cableway_handlers.client import (
    AsyncCablewayClient,
    CablewayClient,
    ClientError,
    HttpClient,
    ServiceUnavailableError,
)
from cableway_handlers.client.exchange import LONGEST_WAIT_S, TRIES, tls_for
from cableway_handlers.client.shapes import Bloc

Answer = httpx.Response | type[httpx.TransportError]


class Service:
    """Gives *answers* one after the other, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers: Iterator[Answer] = iter(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.Response):
            return answer
        raise answer("no")

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited; nobody waits in fact."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("cableway_handlers.client.http.time.sleep", waited.append)
    monkeypatch.setattr("cableway_handlers.client.asynchronous.asyncio.sleep", sleep)
    return waited


def test_any_service_can_be_asked() -> None:
    service = Service(httpx.Response(200, json=[{"id": 1}]), httpx.Response(201, json={"id": 101}))
    with HttpClient("https://service.example/v1", auth_token="secret-token", transport=service.transport) as client:
        assert client.get("/posts", {"page": 2}) == [{"id": 1}]
        assert client.post("/posts", json_data={"title": "foo", "userId": 1})["id"] == 101
    assert [str(request.url) for request in service.asked] == [
        "https://service.example/v1/posts?page=2",
        "https://service.example/v1/posts",
    ]
    assert json.loads(service.asked[1].content) == {"title": "foo", "userId": 1}
    assert {request.headers["authorization"] for request in service.asked} == {"Bearer secret-token"}


@pytest.mark.parametrize("first", [httpx.ConnectError, httpx.Response(503), httpx.Response(429), httpx.ConnectTimeout])
def test_what_did_not_get_through_is_sent_again(first: Answer, waits: list[float]) -> None:
    service = Service(first, httpx.Response(200, json={}))
    assert HttpClient("http://x", transport=service.transport).post("/runs", json_data={}) == {}
    assert len(waits) == 1
    assert 0 < waits[0] <= 0.2


def test_the_service_says_how_long_to_wait(waits: list[float]) -> None:
    said = ("7", formatdate(time() + 5, usegmt=True), "never", "99999999999999999999", "-1")
    answers = [httpx.Response(503, headers={"retry-after": each}) for each in said[: TRIES - 1]]
    service = Service(*answers, httpx.Response(200, json={}))
    HttpClient("http://x", transport=service.transport).get("/")
    assert waits[0] == 7
    assert 3 < waits[1] <= 5
    assert waits[2] <= LONGEST_WAIT_S
    assert waits[3] == LONGEST_WAIT_S


@pytest.mark.parametrize("lost", [httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout])
def test_a_lost_answer_is_asked_for_again_where_that_does_no_harm(lost: Answer, waits: list[float]) -> None:
    service = Service(lost, httpx.Response(200, json={}), lost)
    client = HttpClient("http://x", transport=service.transport)
    assert client.get("/") == {}
    with pytest.raises(ServiceUnavailableError, match="POST / was not answered"):
        client.post("/")
    assert len(service.asked) == 3


def test_it_gives_up(waits: list[float]) -> None:
    service = Service(*[httpx.ConnectError] * TRIES)
    with pytest.raises(ServiceUnavailableError):
        HttpClient("http://x", transport=service.transport).get("/")
    assert len(waits) == TRIES - 1
    service = Service(*[httpx.Response(503, json={"detail": "not now"})] * TRIES)
    with pytest.raises(ServiceUnavailableError, match="503: not now"):
        HttpClient("http://x", transport=service.transport).get("/")


def test_a_refusal_is_an_error_with_what_was_said() -> None:
    problem = {"detail": "It is not.", "errors": [{"pointer": "/name"}]}
    service = Service(httpx.Response(422, json=problem), httpx.Response(404, text="nothing"), httpx.Response(302))
    client = HttpClient("http://x", transport=service.transport)
    with pytest.raises(ClientError, match=r"POST /blocs was answered 422: It is not\.") as raised:
        client.post("/blocs")
    assert (raised.value.answered, raised.value.body) == (422, problem)
    with pytest.raises(ClientError, match="404: Not Found"):
        client.get("/")
    # A redirect may lead to somebody who must not see the token.
    with pytest.raises(ClientError, match="302"):
        client.get("/")


def test_a_refusal_names_the_faults_that_its_words_leave_out() -> None:
    problem = {
        "detail": "It does not fit. /a: is wrong",
        "errors": [
            {"pointer": "/a", "message": "is wrong"},
            {"pointer": "/query/limit", "message": "must be a number"},
        ],
    }
    service = Service(httpx.Response(422, json=problem))
    with pytest.raises(ClientError, match=r"It does not fit\. /a: is wrong /query/limit: must be a number$"):
        HttpClient("http://x", transport=service.transport).get("/runs")


def test_authorities_are_read_only_where_there_is_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    bare = tls_for("http://127.0.0.1:8000")
    assert isinstance(bare, SSLContext)
    assert bare.verify_mode is CERT_REQUIRED, "whoever meets TLS all the same trusts nobody"
    assert tls_for("https://service.example") is True
    monkeypatch.setenv("HTTP_PROXY", "https://proxy.example:3128")
    assert tls_for("http://service.example") is True


def test_a_run_is_one_however_often_it_is_sent(waits: list[float]) -> None:
    service = Service(httpx.ReadError, httpx.Response(202, json={"run_id": "r"}), httpx.Response(202, json={}))
    client = CablewayClient(transport=service.transport)
    assert client.create_run("orders", {"day": "2026-01-31"})["run_id"] == "r"
    client.create_run("orders")
    keys = [request.headers["idempotency-key"] for request in service.asked]
    assert keys[0] == keys[1] != keys[2]


def pages(request: httpx.Request) -> httpx.Response:
    """Seven rows, three a page at most."""
    begin = int(request.url.params.get("cursor", "0"))
    end = min(7, begin + min(3, int(request.url.params["limit"])))
    body = {"items": [{"name": str(n)} for n in range(begin, end)], "next_cursor": str(end) if end < 7 else None}
    return httpx.Response(200, json=body)


def test_lists_come_whole_or_as_far_as_they_are_wanted() -> None:
    client = CablewayClient(transport=httpx.MockTransport(pages))
    assert [row["name"] for row in client.list_pipelines()] == list("0123456")
    assert len(client.list_runs(limit=4)) == 4
    assert len(client.list_runs(limit=None, pipeline="orders")) == 7


def test_an_unhealthy_service_still_answers() -> None:
    service = Service(httpx.Response(503, json={"status": "down"}))
    assert CablewayClient(transport=service.transport).health_check() == {"status": "down"}


def test_names_go_into_addresses_as_they_are() -> None:
    service = Service(httpx.Response(200, json={}))
    CablewayClient(transport=service.transport).get_bloc("a/b ?%#\u00e4")
    assert service.asked[0].url.raw_path == b"/blocs/a%2Fb%20%3F%25%23%C3%A4"


async def test_the_asynchronous_client_does_the_same(waits: list[float]) -> None:
    service = Service(httpx.Response(503, headers={"retry-after": "3"}), httpx.Response(200, json={"name": "x"}))
    async with AsyncCablewayClient(transport=service.transport) as client:
        assert (await client.get_bloc("x"))["name"] == "x"
    assert waits == [3]
    async with AsyncCablewayClient(transport=httpx.MockTransport(pages)) as client:
        assert len(await client.list_blocs()) == 7
        assert len(await client.list_dead_letters(limit=2)) == 2


async def test_a_call_is_described_once_and_typed_for_both_clients() -> None:
    with CablewayClient(transport=Service(httpx.Response(200, json={"name": "x"})).transport) as client:
        bloc = client.get_bloc("x")
        assert_type(bloc, Bloc)
    async with AsyncCablewayClient(transport=Service(httpx.Response(200, json={"name": "x"})).transport) as other:
        awaited = await other.get_bloc(name="x")
        assert_type(awaited, Bloc)
    assert bloc == awaited
    assert CablewayClient.get_bloc is AsyncCablewayClient.get_bloc
    assert client.get_bloc.__doc__ == "The bloc of this name."
    assert list(signature(client.get_bloc).parameters) == ["name"]
