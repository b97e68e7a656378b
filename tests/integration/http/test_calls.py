"""Transformers and exporters that speak to web services."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from standardwebhooks.webhooks import Webhook

from cableway.blocs.kinds import Ending
from cableway.blocs.tables import library
from cableway.catalog import Catalog
from cableway.context import MissingDataError
from cableway.errors import HttpError, RowError
from cableway.settings import HttpSettings
from tests.fixtures.web import Answer, Asked, as_json, web
from tests.integration.http.conftest import opened
from tests.unit.blocs.contexts import context_of

pa = library("pyarrow")
KEY = "an-encrypt-key-that-is-long-enough-for-sha-256"
KEYED = HttpSettings(allow=("127.0.0.1",), encrypt_key=KEY)


async def called(bloc: Any, value: Any) -> Any:
    return await bloc.transform(context_of(bloc, {"source": value}))


def about(asked: Asked) -> Answer:
    number = int(asked.path.rpartition("/")[2])
    return Answer(404) if number == 3 else as_json({"data": {"name": f"n{number}", "sent": asked.query}})


async def test_each_row_gets_its_answer() -> None:
    async with web(about) as server:
        config: dict[str, Any] = {"url": server.url("/of/{id}"), "params": {"c": "{city}"}, "result_path": "data"}
        async with opened("http_call", **config, into="more", not_found="null") as bloc:
            found = await called(bloc, pa.table({"id": [1, 2, 3], "city": ["a&b=c", "x", "y"]}))
    assert found == [
        {"id": 1, "city": "a&b=c", "more": {"name": "n1", "sent": {"c": "a&b=c"}}},
        {"id": 2, "city": "x", "more": {"name": "n2", "sent": {"c": "x"}}},
        {"id": 3, "city": "y", "more": None},
    ]


async def test_answers_take_the_place_of_rows() -> None:
    async with web(lambda asked: as_json([asked.json()] * asked.json()["n"])) as server:
        config: dict[str, Any] = {"url": server.url(), "method": "POST", "json": {"n": "{n}", "t": "<{n}>"}}
        async with opened("http_call", **config, result="replace") as bloc:
            assert await called(bloc, [{"n": 2}, {"n": 1}]) == [{"n": 2, "t": "<2>"}] * 2 + [{"n": 1, "t": "<1>"}]


async def test_an_item_may_be_asked_about_at_once() -> None:
    async with web(lambda asked: as_json(len(asked.json()["all"]))) as server:
        config: dict[str, Any] = {"url": server.url(), "method": "POST", "json": {"all": "{rows}"}, "each": "item"}
        async with opened("http_call", **config, into="of") as bloc:
            assert await called(bloc, [{"n": 2}, {"n": 1}]) == [{"n": 2, "of": 2}, {"n": 1, "of": 2}]
        assert len(server.asked) == 1


async def test_one_row_that_fails_fails_the_item() -> None:
    async with web(about) as server:
        async with opened("http_call", url=server.url("/of/{id}")) as bloc:
            with pytest.raises(HttpError, match="answered 404"):
                await called(bloc, [{"id": 1}, {"id": 3}])
            with pytest.raises(MissingDataError, match=r"row 1 wants 'id', and its input has: 'x'"):
                await called(bloc, [{"x": 1}])
            with pytest.raises(RowError, match="row 1, column 'id'"):
                await called(bloc, [{"id": ".."}])


@pytest.mark.fault("F15")
async def test_a_stage_that_repeats_an_item_does_not_multiply_its_requests() -> None:
    async with web(lambda _: Answer(503)) as server:
        async with opened("http_call", url=server.url("/{id}"), http={"attempts": 10}) as bloc:
            for _ in range(10):
                with pytest.raises(HttpError):
                    await called(bloc, [{"id": 1}])
        assert len(server.asked) == 10 + 9


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"url": "https://{host}/x"}, "/url"),
        ({"url": "https://a.example/{"}, "/url"),
        ({"params": {"a": "{b"}}, "/params"),
        ({"headers": {"a": "}"}}, "/headers"),
        ({"method": "POST", "json": {"a": ["{}"]}}, "/json"),
        ({"result_path": ".."}, "/result_path"),
        ({"json": {}}, "/json"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(config: dict[str, Any], pointer: str) -> None:
    _, faults = Catalog().normalise("http_call", {"url": "https://a.example/", **config})
    assert [fault.pointer for fault in faults] == [pointer]


async def test_webhooks_are_renewed_in_the_users_name() -> None:
    async with web(lambda asked: as_json(asked.json())) as server:
        async with opened("refresh_webhooks", KEYED, url=server.url("/r"), user_id="u-1") as bloc:
            assert await bloc.transform(context_of(bloc)) == {"user_id": "u-1"}
    asked = server.asked[0]
    claims = jwt.decode(asked.headers["authorization"].removeprefix("Bearer "), KEY, algorithms=["HS256"])
    assert (claims["user_id"], claims["sub"], claims["exp"] - claims["iat"]) == ("u-1", "u-1", 600)


async def test_without_a_key_no_token_is_sent() -> None:
    async with web(lambda _: Answer(204)) as server:
        async with opened("refresh_webhooks", url=server.url("/r"), user_id="u-1") as bloc:
            assert await bloc.transform(context_of(bloc)) == {"status": 204}
    assert "authorization" not in server.asked[0].headers


class Agents:
    """What an API server of agents does, as far as the protocol goes."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.told: list[dict[str, Any]] = []

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.startswith("/apps/"):
            if asked.method == "GET":
                return as_json({}) if asked.path in self.sessions else Answer(404)
            known = asked.path in self.sessions
            self.sessions.add(asked.path)
            return Answer(409) if known else as_json({"id": asked.path.rpartition("/")[2]})
        told = asked.json()
        self.told.append(told)
        path = f"/apps/{told['appName']}/users/{told['userId']}/sessions/{told['sessionId']}"
        if asked.path != "/run" or path not in self.sessions:
            return Answer(404)
        text = told["newMessage"]["parts"][0]["text"]
        said = {"author": "echo", "content": {"role": "model", "parts": [{"text": f"echo: {text}"}]}}
        return as_json([{"author": "echo", "content": None}, said, {"author": "user", "content": {"parts": []}}])


ADK: dict[str, Any] = {"agent_id": "echo", "user_id": "u-1"}


async def test_an_agent_is_told_in_a_session_and_answers() -> None:
    agents = Agents()
    async with web(agents) as server:
        config: dict[str, Any] = {**ADK, "base_url": server.url(), "message_text": "hello {name}"}
        async with opened("run_adk_agents", KEYED, **config) as bloc:
            (answer,) = await bloc.transform(context_of(bloc))
            assert (answer["agent_id"], answer["text"]) == ("echo", "echo: hello {name}")
            # A session that an earlier attempt made is no obstacle.
            assert (await bloc.transform(context_of(bloc)))[0] == answer
        assert all("authorization" in asked.headers for asked in server.asked)
        async with opened("run_adk_agents", **config, per_row=True, keep_events=True) as bloc:
            rows = await called(bloc, [{"name": "a"}, {"name": "b"}])
    assert [(row["name"], row["text"], len(row["events"])) for row in rows] == [
        ("a", "echo: hello a", 3),
        ("b", "echo: hello b", 3),
    ]
    assert len({told["sessionId"] for told in agents.told}) == 2  # by run, item and row


async def test_an_agent_that_fails_is_not_asked_again() -> None:
    async with web(lambda asked: Answer(500) if asked.path == "/run" else as_json({})) as server:
        async with opened("run_adk_agents", **ADK, base_url=server.url(), message_text="x") as bloc:
            with pytest.raises(HttpError, match="/run: answered 500"):
                await bloc.transform(context_of(bloc))
        assert [asked.path for asked in server.asked].count("/run") == 1


async def test_an_agents_session_that_is_refused_is_said() -> None:
    async with web(lambda asked: Answer(400 if asked.method == "POST" else 404)) as server:
        async with opened("run_adk_agents", **ADK, base_url=server.url(), message_text="x") as bloc:
            with pytest.raises(HttpError, match=r"POST .*/sessions/.*: answered 400"):
                await bloc.transform(context_of(bloc))


SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def exported(bloc: Any, value: Any, item_id: str = "0:0:0") -> int:
    rows: int = await bloc.export(context_of(bloc, {"source": value}, item_id))
    return rows


async def test_messages_are_signed_so_that_others_know_them() -> None:
    answers = [Answer(503), Answer(200), Answer(204), Answer(204)]
    async with web(lambda _: answers.pop(0)) as server:
        # Guarded as a job would have done with a secret that it looked up.
        from cableway.redaction import guard

        guard([SIGNING])
        async with opened("webhook_exporter", url=server.url("/in"), secret=SIGNING, type="t.x") as bloc:
            assert await exported(bloc, [{"n": 1}, {"n": 2}]) == 2
            assert await exported(bloc, [{"n": 1}, {"n": 2}]) == 2
            assert await exported(bloc, [{"n": 3}], "0:2:9") == 1
            assert bloc.outputs() == {"messages": 3, "host": "127.0.0.1"}
    first = server.asked[0]
    for asked in server.asked:
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        assert Webhook(SIGNING).verify(asked.body, {name: asked.headers[name] for name in names})
        assert abs(int(asked.headers["webhook-timestamp"]) - time.time()) < 30
    assert json.loads(first.body) == {"type": "t.x", "data": [{"n": 1}, {"n": 2}]}
    ids = [asked.headers["webhook-id"] for asked in server.asked]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert ids[0].startswith("msg_")


async def test_each_row_may_be_a_message() -> None:
    async with web(lambda _: Answer(204)) as server:
        async with opened("webhook_exporter", url=server.url("/in"), each="row") as bloc:
            assert await exported(bloc, pa.table({"n": [1, 2]})) == 2
    assert [asked.json()["data"] for asked in server.asked] == [{"n": 1}, {"n": 2}]
    assert len({asked.headers["webhook-id"] for asked in server.asked}) == 2
    assert "webhook-signature" not in server.asked[0].headers


@pytest.mark.parametrize("answer", [Answer(302, headers={"Location": "/there"}), Answer(410), Answer(400)])
async def test_a_receiver_that_does_not_take_it_fails_the_item(answer: Answer) -> None:
    async with web(lambda _: answer) as server:
        async with opened("webhook_exporter", url=server.url("/in")) as bloc:
            with pytest.raises(HttpError, match=f"answered {answer.status}"):
                await exported(bloc, [{"n": 1}])
        assert len(server.asked) == 1


async def test_what_json_cannot_say_is_a_bad_row() -> None:
    async with opened("webhook_exporter", url="https://a.example/in") as bloc:
        with pytest.raises(RowError, match="cannot be said in JSON"):
            await exported(bloc, [{"n": float("inf")}])


def test_a_signing_secret_is_a_reference() -> None:
    config = {"url": "https://a.example/", "secret": SIGNING}
    _, faults = Catalog().normalise("webhook_exporter", config)
    assert [fault.pointer for fault in faults] == ["/secret"]
    assert SIGNING not in str(faults)


@pytest.mark.parametrize(
    ("when", "ending", "tells"),
    [
        ("always", Ending.SUCCEEDED, True),
        ("success", Ending.SUCCEEDED, True),
        ("success", Ending.FAILED, False),
        ("failure", Ending.SUCCEEDED, False),
        ("failure", Ending.COMPLETED_WITH_ERRORS, True),
        ("failure", Ending.INTERRUPTED, True),
    ],
)
async def test_a_chat_is_told_how_a_run_ended(when: str, ending: Ending, tells: bool) -> None:
    async with web(lambda _: Answer(200, b"ok")) as server:
        async with opened("notify", url=server.url("/hook"), when=when) as bloc:
            await exported(bloc, [{"n": 1}, {"n": 2}])
            await exported(bloc, [{"n": 3}])
            await bloc.close(ending)
            assert bloc.outputs() == {"messages": int(tells)}
    said = [asked.json() for asked in server.asked]
    word = ending.value.replace("_", " ")
    assert said == ([{"text": f"p (run run-1): {word}, rows: 3, items: 2"}] if tells else [])


async def test_a_message_that_cannot_be_sent_is_a_warning_unless_it_is_required(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with web(lambda _: Answer(404)) as server:
        async with opened("notify", url=server.url("/hook")) as bloc:
            await bloc.close(Ending.SUCCEEDED)
        assert "'b' could not tell anybody: POST" in caplog.text
        with pytest.raises(HttpError):
            async with opened("notify", url=server.url("/hook"), required=True) as bloc:
                await bloc.close(Ending.SUCCEEDED)


async def test_each_item_may_be_told() -> None:
    async with web(lambda _: Answer(200)) as server:
        async with opened("notify", url=server.url("/hook"), each="item", text="{item}: {rows}") as bloc:
            await exported(bloc, [{"n": 1}], "7")
    assert [asked.json()["text"] for asked in server.asked] == ["7: 1"]


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({}, "/url"),
        ({"url": "https://a.example", "text": "{nothing}"}, "/text"),
        ({"mail": {"host": "a.example"}}, "/to"),
        ({"mail": {"host": "a.example", "password": "x"}, "to": ["a@b.c"], "sender": "d@e.f"}, "/mail/password"),
    ],
)
def test_a_notice_that_makes_no_sense_is_refused(config: dict[str, Any], pointer: str) -> None:
    _, faults = Catalog().normalise("notify", config)
    assert [fault.pointer for fault in faults] == [pointer]
