"""What a hook may be told to do: whom it knows, what it takes, how it filters, maps, waits, limits and keeps."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any

import httpx
import pytest

from cableway.definition import TriggerDefinition
from cableway_handlers.api.hooks.hook import make_hook
from cableway_handlers.api.hooks.senders import signed
from cableway_handlers.cli import main
from tests.integration.api.conftest import Api
from tests.integration.api.sending import SECRET_TEXT, webhook
from tests.integration.api.test_hooks import assert_problem

FORM = "application/x-www-form-urlencoded"
BODY = b'{"day": "2026-01-31", "count": 3}'


def add(api: Api, name: str, auth: str, **config: Any) -> TriggerDefinition:
    secrets = [] if auth == "none" else ["env:ORDERS_SECRET"]
    api.database.add_hook(name, *secrets, auth=auth, **config)
    return make_hook(name, "orders", {"auth": auth, "secrets": secrets, **config}).trigger


def sent(
    api: Api, name: str, trigger: TriggerDefinition, body: bytes = BODY, *, id: str = "d1", query: str = "", **more: str
) -> httpx.Response:
    headers = {"content-type": "application/json"}
    headers |= signed(trigger, SECRET_TEXT, body, delivery=id, now_s=int(time.time()))
    headers |= {key.replace("_", "-"): value for key, value in more.items()}
    return api.client.post(f"/hooks/{name}{query}", content=body, headers=headers)


def count(api: Api, table: str = "runs") -> int:
    found: int = api.database.rows(f"SELECT count(*) FROM cableway.{table}")[0]["count"]
    return found


def parameters(api: Api) -> list[dict[str, Any]]:
    return [row["parameters"] for row in api.database.rows("SELECT parameters FROM cableway.runs ORDER BY run_id")]


def kept(api: Api, least: int) -> list[dict[str, Any]]:
    """The deliveries that are kept, once there are *least*: they are written after the answer."""
    until = time.monotonic() + 10
    while True:
        query = "SELECT *, body::text AS text FROM cableway.delivery_records ORDER BY received_at, delivery_id"
        rows = api.database.rows(query)
        if len(rows) >= least or time.monotonic() > until:
            return rows


@pytest.mark.promise("P3")
@pytest.mark.parametrize("auth", ["github", "stripe", "slack", "hmac", "basic", "api_key"])
def test_every_kind_of_sender_makes_one_run_of_one_delivery(api: Api, auth: str) -> None:
    config = {"signature": {"header": "x-sig", "prefix": "sha256="}} if auth == "hmac" else {}
    trigger = add(api, "h", auth, parameters={"day": "$.day"}, **config)
    body = b'{"day": "2026-01-31", "id": "evt_1", "event_id": "Ev1"}'
    more = {"idempotency_key": "k1"} if auth == "hmac" else {}
    answers = [sent(api, "h", trigger, body, **more) for _ in range(3)]
    fresh = 200 if auth == "slack" else 202
    assert [answer.status_code for answer in answers] == [fresh, 200, 200]
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert answers[2].headers["idempotent-replayed"] == "true"
    assert parameters(api) == [{"day": "2026-01-31", "count": None}]
    assert_problem(sent(api, "h", trigger, body + b" ", **more), 422, "key_reused")
    api.environment["ORDERS_SECRET"] = "another secret"
    assert api.client.post("/hooks/h", content=body, headers={"content-type": "application/json"}).status_code == 401
    assert count(api) == 1


def test_anybody_is_heard_where_hook_and_server_say_so_alone(api: Api) -> None:
    trigger = add(api, "open", "none")
    assert_problem(sent(api, "open", trigger), 401, "unauthenticated")
    assert count(api) == 0


def test_forms_are_taken_from_those_who_send_them(api: Api) -> None:
    slack = add(api, "slash", "slack", parameters={"day": "$.text", "count": "$.user_id"})
    body = b"command=%2Frun&text=2026-01-31&user_id=7&trigger_id=1.2"
    answer = sent(api, "slash", slack, body, content_type=FORM)
    assert (answer.status_code, answer.content) == (200, b"")
    github = add(api, "pushed", "github", parameters={"day": "$.day"})
    assert sent(api, "pushed", github, b"payload=%7B%22day%22%3A%22x%22%7D", content_type=FORM).status_code == 202
    plain = add(api, "plain", "api_key", form=True)
    assert sent(api, "plain", plain, b"day=y&count=5", content_type=FORM).status_code == 202
    wanted = [{"day": "2026-01-31", "count": 7}, {"day": "x", "count": None}, {"day": "y", "count": 5}]
    assert parameters(api) == wanted
    for odd in (b"day=y&day=z", b"day=%ff", b"day=%00", b"day", b"=;=&&"):
        assert sent(api, "plain", plain, odd, id="odd", content_type=FORM).status_code in {400, 422}
    assert len(parameters(api)) == 3


@pytest.mark.fault("E12")
def test_a_form_is_no_json(api: Api) -> None:
    for media_type in (FORM, "text/plain", "", "application/json; charset=latin-1", "application/xml"):
        assert_problem(api.send(webhook(api.url, content_type=media_type)), 415, "media_type")
    assert count(api) == 0


def test_slack_hears_its_challenge_again(api: Api) -> None:
    trigger = add(api, "slack", "slack")
    body = b'{"type": "url_verification", "challenge": "abc", "token": "x"}'
    assert sent(api, "slack", trigger, body).json() == {"challenge": "abc"}
    assert count(api) == 0


def test_what_the_condition_does_not_want_is_answered_and_makes_no_run(api: Api) -> None:
    trigger = add(
        api,
        "pushed",
        "github",
        when="$.ref == 'main' and $headers.x-github-event == 'push'",
        parameters={"day": "$.ref"},
    )
    filtered = sent(api, "pushed", trigger, b'{"ref": "other"}')
    assert (filtered.status_code, filtered.content) == (204, b"")
    assert sent(api, "pushed", trigger, b'{"ref": "main"}', id="d2", x_github_event="ping").status_code == 204
    assert count(api) == 0
    assert sent(api, "pushed", trigger, b'{"ref": "main"}', id="d3").status_code == 202


def test_a_payload_is_mapped_to_parameters_of_their_types(api: Api) -> None:
    mapping = {"day": "$.event.days[0]", "count": "$headers.x-count"}
    trigger = add(api, "mapped", "github", parameters=mapping)
    assert sent(api, "mapped", trigger, b'{"event": {"days": ["d"]}}', x_count="12").status_code == 202
    assert sent(api, "mapped", trigger, b'{"event": {}}', id="d2").status_code == 202
    assert parameters(api) == [{"day": "d", "count": 12}, {"day": "today", "count": None}]
    refused = sent(api, "mapped", trigger, b'{"event": {"days": [5]}}', id="d3", x_count="hunter2")
    assert_problem(refused, 422, "parameters")
    assert {fault["pointer"] for fault in refused.json()["errors"]} == {"/parameters/day", "/parameters/count"}
    assert "hunter2" not in refused.text
    fixed = add(api, "fixed", "github", parameters={"day": "$$day", "count": 5})
    assert sent(api, "fixed", fixed, b"[1]").status_code == 202
    assert parameters(api)[2] == {"day": "$day", "count": 5}


@pytest.mark.fault("E9")
def test_a_schema_says_what_a_body_must_be(api: Api) -> None:
    schema = {"type": "object", "required": ["day"], "properties": {"day": {"type": "string", "minLength": 2}}}
    trigger = add(api, "strict", "github", body_schema=schema)
    for number, body in enumerate((b"", b"{}", b'{"day": "x"}', b'{"day": 987654321}', b"[]")):
        refused = sent(api, "strict", trigger, body, id=f"d{number}")
        assert_problem(refused, 422, "invalid_request")
        assert refused.json()["errors"][0]["pointer"].startswith("/body")
        assert "987654321" not in refused.text
    assert count(api) == 0
    assert sent(api, "strict", trigger, b'{"day": "2026"}', id="good").status_code == 202


@pytest.mark.promise("P3")
def test_a_replay_is_found_whatever_the_hook_says_today(api: Api) -> None:
    trigger = add(api, "h", "github", parameters={"day": "$.day"})
    first = sent(api, "h", trigger)
    config = {"auth": "github", "secrets": ["env:ORDERS_SECRET"], "parameters": {"nothing": "$.day"}}
    filtering = {"auth": "github", "secrets": ["env:ORDERS_SECRET"], "when": "false"}
    for changed in (config, filtering, {**config, "parameters": {}, "body_schema": {"type": "array"}}):
        statement = "UPDATE cableway.triggers SET config = %s::json WHERE name = 'h'"
        api.database.execute(statement, json.dumps(changed))
        again = sent(api, "h", trigger)
        assert (again.status_code, again.headers["location"]) == (200, first.headers["location"]), changed
        assert_problem(sent(api, "h", trigger, b"{} "), 422, "key_reused")
    assert count(api) == 1


@pytest.mark.promise("P3")
def test_a_key_is_forgotten_after_its_days(api: Api) -> None:
    trigger = add(api, "h", "github", remember_days=2)
    other = add(api, "usual", "github")
    old = [sent(api, name, each).headers["location"] for name, each in (("h", trigger), ("usual", other))]
    api.database.execute("UPDATE cableway.deliveries SET received_at = now() - interval '3 days'")
    api.tidy()
    assert sent(api, "h", trigger).headers["location"] != old[0]
    assert sent(api, "usual", other).headers["location"] == old[1]


def test_a_caller_may_wait_for_the_end(api: Api) -> None:
    def end_the_run() -> None:
        until = time.monotonic() + 20
        while not api.launches.launches and time.monotonic() < until:
            pass
        api.database.execute(
            "UPDATE cableway.runs SET state = 'succeeded', ended_at = now(), exit_code = 0, outputs = '{\"rows\": 3}'"
        )

    thread = threading.Thread(target=end_the_run)
    thread.start()
    trigger = add(api, "h", "github")
    ended = sent(api, "h", trigger, query="?wait=20")
    thread.join()
    assert (ended.status_code, ended.json()["state"], ended.json()["outputs"]) == (200, "succeeded", {"rows": 3})
    waiting = sent(api, "h", trigger, id="d2", query="?wait=0.2")
    assert (waiting.status_code, waiting.headers["retry-after"]) == (202, "5")
    for odd in ("?wait=-1", "?wait=x", "?wait=1e9", "?other=1", "?wait=1&wait=2"):
        assert_problem(sent(api, "h", trigger, id="d3", query=odd), 400, "bad_request")


@pytest.mark.fault("E21")
def test_a_hook_takes_so_many_in_a_minute(api: Api) -> None:
    trigger = add(api, "slow", "github", rate_per_minute=20)
    free = add(api, "free", "github")
    answers = [sent(api, "slow", trigger, id=f"d{number}") for number in range(20)]
    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(accepted) + len(refused) == 20
    assert 2 <= len(accepted) < 10
    assert int(refused[0].headers["retry-after"]) >= 1
    assert_problem(refused[0], 429, "too_many_requests")
    assert sent(api, "free", free).status_code == 202
    assert count(api) == len(accepted) + 1


def test_deliveries_are_kept_with_the_verdict_on_each(api: Api) -> None:
    trigger = add(api, "h", "github", record="all", record_bytes=50, when="$.day != 'no'")
    sent(api, "h", trigger)
    sent(api, "h", trigger)
    sent(api, "h", trigger, BODY + b" ")
    sent(api, "h", trigger, b'{"day": "no"}', id="d2")
    sent(api, "h", trigger, b'{"other": 1}', id="d3", x_my_token="hunter2", x_hub_signature_256="sha256=00")
    sent(api, "h", trigger, b'{"day": "' + b"x" * 50 + b'"}', id="d4", cookie="hunter2", x_api_key="hunter2")
    rows = kept(api, 6)
    told = [(row["verdict"], row["status"], row["step"], row["error"]) for row in rows]
    assert told == [
        ("accepted", 202, None, None),
        ("replayed", 200, None, None),
        ("refused", 422, "idempotency", "key_reused"),
        ("filtered", 204, None, None),
        ("refused", 401, "signature", "unauthenticated"),
        ("accepted", 202, None, None),
    ]
    assert rows[0]["body"] == BODY
    assert rows[0]["run_id"] == rows[1]["run_id"]
    assert (rows[5]["body"], rows[5]["body_bytes"]) == (None, 61)
    assert "hunter2" not in json.dumps([row["headers"] for row in rows])
    assert rows[0]["headers"]["x-hub-signature-256"] == "***"
    assert rows[0]["headers"]["x-github-delivery"] == "d1"


@pytest.mark.promise("P24")
def test_what_is_refused_is_kept_where_the_hook_asks_for_it_alone(api: Api) -> None:
    usual, silent = add(api, "usual", "github"), add(api, "silent", "github", record="none")
    for name, trigger in (("usual", usual), ("silent", silent)):
        sent(api, name, trigger, b"[]")
        sent(api, name, trigger, x_hub_signature_256="x")
        sent(api, name, trigger, id="good")
    assert [(row["trigger_name"], row["verdict"]) for row in kept(api, 1)] == [("usual", "accepted")]


def test_only_the_last_deliveries_are_kept(api: Api) -> None:
    trigger = add(api, "h", "github", record_last=2)
    for number in range(4):
        sent(api, "h", trigger, id=f"d{number}")
    kept(api, 4)
    api.tidy()
    assert [row["key"] for row in kept(api, 2)] == ["d2", "d3"]
    api.database.execute("UPDATE cableway.delivery_records SET received_at = now() - interval '8 days'")
    api.tidy()
    assert kept(api, 0) == []


def test_a_kept_delivery_can_be_worked_on_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", api.database.conninfo)
    monkeypatch.setenv("ORDERS_SECRET", SECRET_TEXT)
    trigger = add(api, "pushed", "github", parameters={"day": "$.day"})
    sent(api, "pushed", trigger)
    (row,) = kept(api, 1)
    assert main(["hooks", "replay", str(row["delivery_id"])]) == 0
    assert "recorded run" in capsys.readouterr().err
    assert parameters(api) == [{"day": "2026-01-31", "count": None}] * 2
    for command in (["list"], ["deliveries", "pushed"], ["show", str(row["delivery_id"])], ["show", "pushed"]):
        assert main(["hooks", *command]) == 0
        assert "pushed" in capsys.readouterr().out
    assert main(["hooks", "list", "--json"]) == 0
    assert [each["deliveries"] for each in json.loads(capsys.readouterr().out)] == [0, 1]
    assert main(["hooks", "replay", "00000000-0000-0000-0000-000000000000"]) == 78
    assert main(["hooks", "show", "nobody"]) == 78


@pytest.mark.parametrize("auth", ["standard", "github", "stripe", "slack", "basic"])
def test_a_webhook_is_sent_by_hand(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], auth: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", api.database.conninfo)
    monkeypatch.setenv("ORDERS_SECRET", SECRET_TEXT)
    add(api, "h", auth, parameters={"count": 1})
    where = ["hooks", "send", "h", "--url", api.url]
    assert main([*where, "--sign", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] in {200, 202}
    assert main([*where, "--preset", auth, "--sign", "--secret", "env:ORDERS_SECRET"]) == 0
    assert main([*where, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["status"] == 401
    assert main([*where, "--preset", auth, "--sign"]) == 0
    monkeypatch.setenv("WRONG", "whsec_d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmch")
    assert main([*where, "--sign", "--secret", "env:WRONG"]) == 3
    assert "looks the secret up in its own environment" in capsys.readouterr().err
    assert main(["hooks", "send", "h", "--sign", "--url", "http://127.0.0.1:1"]) == 69
    assert count(api) == 3


@pytest.mark.fault("E25")
def test_what_a_stranger_sends_does_not_write_lines_into_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    evil = '\\n{"level":"INFO"}\x1b[31m'
    api.client.post("/hooks/%0A%1B[31mx", content=BODY, headers={"content-type": "application/json"})
    api.send(webhook(api.url, json.dumps({evil: evil}).encode()))
    for record in caplog.records:
        if record.name.startswith("cableway"):
            assert "\n" not in record.getMessage()
            assert "\x1b" not in record.getMessage()


@pytest.mark.fault("E22")
@pytest.mark.parametrize(
    "path", ["/hooks//orders", "/hooks/orders/", "/hooks/%2e%2e/orders", "/hooks/orders;x", "/hooks/"]
)
def test_no_spelling_of_an_address_is_another_hook(api: Api, path: str) -> None:
    request = webhook(api.url)
    answer = api.client.post(path, content=request.content, headers=dict(request.headers))
    assert answer.status_code in {400, 401, 404}
    assert count(api) == 0
