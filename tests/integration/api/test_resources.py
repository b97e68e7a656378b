"""Definitions and runs over HTTP: made, listed, changed under a condition, gone."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cableway.settings import DatabaseSettings
from cableway_handlers.api.app import create_app
from cableway_handlers.api.database import DatabaseDesk
from tests.fixtures.postgres import Postgres
from tests.integration.api.conftest import PIPELINE, Api, Database, RecordingLaunches
from tests.integration.api.serving import NO_TLS, refused, serving

BLOC = {"name": "rows", "bloc_type": "csv_loader", "config": {"file_path": "data.csv"}}


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Iterator[Api]:
    """One server for the whole module; each test makes names of its own."""
    name = postgres.create_database()
    stored, launches = Database(postgres.conninfo(name)), RecordingLaunches()
    stored.add_pipeline()
    app = create_app(DatabaseDesk(DatabaseSettings(url=stored.conninfo)), launches, environment={})
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False, verify=NO_TLS) as client:
        yield Api(url, stored, launches, {}, client)
    postgres.drop_database(name)


@pytest.fixture
def client(shared: Api) -> httpx.Client:
    return shared.client


@pytest.fixture
def name() -> str:
    return f"n-{uuid4().hex[:12]}"


def made(response: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def test_a_bloc_from_its_making_to_its_end(client: httpx.Client, name: str) -> None:
    response = client.post("/blocs", json={**BLOC, "name": name})
    bloc = made(response)
    assert (bloc["name"], bloc["bloc_type"], bloc["config"], bloc["revision"]) == (
        name,
        "csv_loader",
        {"file_path": "data.csv"},
        1,
    )
    assert response.headers["location"] == f"/blocs/{name}"
    tag = response.headers["etag"]
    assert client.get(f"/blocs/{name}").headers["etag"] == tag
    assert client.get(f"/blocs/{name}", headers={"if-none-match": tag}).status_code == 304

    settings = {"bloc_type": "csv_loader", "config": {"file_path": "other.csv"}, "description": "another"}
    refused(client.put(f"/blocs/{name}", json=settings), 428, "precondition_needed")
    refused(client.put(f"/blocs/{name}", json=settings, headers={"if-match": '"7"'}), 412, "conflict")
    changed = client.put(f"/blocs/{name}", json=settings, headers={"if-match": tag})
    assert made(changed, 200)["config"] == {"file_path": "other.csv"}
    refused(client.put(f"/blocs/{name}", json=settings, headers={"if-match": tag}), 412, "conflict")
    same = client.put(f"/blocs/{name}", json={**settings, "name": name}, headers={"if-match": "*"})
    assert made(same, 200)["revision"] == 2, "the name may be said again, and nothing has changed by it"
    other = client.put(f"/blocs/{name}", json={**settings, "name": "x"}, headers={"if-match": "*"})
    problem = refused(other, 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/body/name"

    refused(client.delete(f"/blocs/{name}", headers={"if-match": tag}), 412, "conflict")
    assert client.delete(f"/blocs/{name}", headers={"if-match": '"2"'}).status_code == 204
    refused(client.get(f"/blocs/{name}"), 404, "unknown_name")
    refused(client.delete(f"/blocs/{name}"), 404, "unknown_name")


def test_a_row_of_the_same_name_is_told_from_the_one_before_it(client: httpx.Client, name: str) -> None:
    tag = client.post("/blocs", json={**BLOC, "name": name}).headers["etag"]
    client.delete(f"/blocs/{name}")
    made(client.post("/blocs", json={**BLOC, "name": name}))
    refused(client.delete(f"/blocs/{name}", headers={"if-match": tag}), 412, "conflict")


def test_what_is_faulty_is_not_stored(client: httpx.Client, name: str) -> None:
    problem = refused(client.post("/blocs", json={**BLOC, "name": name, "config": {"path": 1}}), 422, "invalid")
    assert "/config/path" in {error["pointer"] for error in problem["errors"]}
    refused(client.get(f"/blocs/{name}"), 404, "unknown_name")
    made(client.post("/blocs", json={**BLOC, "name": name}))
    refused(client.post("/blocs", json={**BLOC, "name": name}), 409, "taken")


def test_a_pipeline_with_its_versions(client: httpx.Client, name: str) -> None:
    document = {**PIPELINE, "name": name}
    response = client.post("/pipelines", json=document, params={"note": "the first"})
    first = made(response)
    assert (first["version"], first["note"], first["document"]) == (1, "the first", document)
    tag = response.headers["etag"]

    refused(client.post("/pipelines", json=document), 409, "taken")
    changed = {**document, "description": "changed"}
    refused(client.put(f"/pipelines/{name}", json=changed, headers={"if-match": '"9"'}), 412, "conflict")
    second = client.put(f"/pipelines/{name}", json=changed, headers={"if-match": tag})
    assert made(second, 200)["version"] == 2
    refused(client.put(f"/pipelines/{name}", json=document, headers={"if-match": tag}), 412, "conflict")
    refused(
        client.put(f"/pipelines/{name}", json={**document, "name": "other"}, headers={"if-match": "*"}), 422, "invalid"
    )

    listed = made(client.get(f"/pipelines/{name}/versions", params={"limit": 1}), 200)
    assert [entry["version"] for entry in listed["items"]] == [2]
    listed = made(client.get(f"/pipelines/{name}/versions", params={"cursor": listed["next_cursor"]}), 200)
    assert ([entry["version"] for entry in listed["items"]], listed["next_cursor"]) == ([1], None)
    assert made(client.get(f"/pipelines/{name}/versions/1"), 200)["description"] == ""

    assert made(client.post(f"/pipelines/{name}/rollback"), 200)["version"] == 1
    assert made(client.post(f"/pipelines/{name}/versions/2/activate"), 200)["version"] == 2
    refused(client.post(f"/pipelines/{name}/versions/3/activate"), 404, "unknown_pipeline")

    assert client.delete(f"/pipelines/{name}").status_code == 204
    refused(client.delete(f"/pipelines/{name}"), 404, "unknown_pipeline")
    refused(client.get(f"/pipelines/{name}"), 404, "unknown_pipeline")
    archived = made(client.get(f"/pipelines/{name}", params={"archived": "true"}), 200)
    assert archived["archived_at"]
    assert name in [row["name"] for row in client.get("/pipelines", params={"archived": "true"}).json()["items"]]
    assert name not in [row["name"] for row in client.get("/pipelines").json()["items"]]
    refused(client.post("/runs", json={"pipeline": name}), 404, "unknown_pipeline")
    assert made(client.post(f"/pipelines/{name}/versions/1/activate"), 200)["archived_at"] is None


def test_a_trigger_and_its_scheduler(client: httpx.Client, name: str) -> None:
    trigger = {"name": name, "pipeline": "not-there-yet", "expression": "0 * * * *"}
    made_trigger = client.post("/triggers", json=trigger)
    assert made(made_trigger)["kind"] == "cron"
    scheduler = {"name": name, "pipeline": "not-there-yet", "trigger_name": name, "starts_at": "2030-01-31T08:00:00Z"}
    made_scheduler = client.post("/schedulers", json=scheduler)
    assert made(made_scheduler)["catchup"] == "latest"

    rule = {"name": name, "pipeline": "not-there-yet", "expression": "*/5 * * * *"}
    changed = client.put(f"/triggers/{name}", json=rule, headers={"if-match": made_trigger.headers["etag"]})
    assert made(changed, 200)["expression"] == "*/5 * * * *"
    paused = {
        "name": name,
        "pipeline": "not-there-yet",
        "trigger_name": name,
        "paused": True,
        "pause_note": "for the night",
    }
    changed = client.put(f"/schedulers/{name}", json=paused, headers={"if-match": made_scheduler.headers["etag"]})
    assert made(changed, 200)["paused"] is True
    assert [row["name"] for row in client.get("/schedulers", params={"paused": "true"}).json()["items"]] == [name]

    refused(client.delete(f"/triggers/{name}"), 409, "in_use")
    assert client.delete(f"/schedulers/{name}").status_code == 204
    assert client.delete(f"/triggers/{name}").status_code == 204
    refused(client.post("/triggers", json={**trigger, "expression": "61 * * * *"}), 422, "invalid")
    refused(client.post("/schedulers", json=scheduler), 422, "invalid")


def test_a_run_that_is_started(shared: Api) -> None:
    before = len(shared.launches.launches)
    wanted = {"pipeline": "orders", "parameters": {"count": 3}}
    response = shared.client.post("/runs", json=wanted, headers={"idempotency-key": "k-1"})
    run = made(response, 202)
    assert (run["state"], run["parameters"], run["version"]) == ("queued", {"day": "today", "count": 3}, 1)
    assert response.headers["location"] == f"/runs/{run['run_id']}"
    again = shared.client.post("/runs", json=wanted, headers={"idempotency-key": "k-1"})
    assert (made(again, 200)["run_id"], again.headers["idempotent-replayed"]) == (run["run_id"], "true")
    assert len(shared.launches.launches) == before + 1
    other = {"pipeline": "orders", "parameters": {"count": 4}}
    refused(shared.client.post("/runs", json=other, headers={"idempotency-key": "k-1"}), 422, "key_reused")

    shown = shared.client.get(f"/runs/{run['run_id']}")
    assert made(shown, 200)["attempts"] == []
    assert (
        shared.client.get(f"/runs/{run['run_id']}", headers={"if-none-match": shown.headers["etag"]}).status_code == 304
    )
    for part in ("attempts", "stages", "spans", "dead-letters"):
        assert made(shared.client.get(f"/runs/{run['run_id']}/{part}"), 200) == {"items": [], "next_cursor": None}
        refused(shared.client.get(f"/runs/{uuid4()}/{part}"), 404, "unknown_run")


def test_a_run_that_nobody_can_make(client: httpx.Client) -> None:
    problem = refused(client.post("/runs", json={"pipeline": "nobody's"}), 404, "unknown_pipeline")
    assert "orders" not in problem["detail"]
    refused(client.post("/runs", json={"pipeline": "orders", "parameters": {"x": 1}}), 422, "parameters")
    refused(
        client.post("/runs", json={"pipeline": "orders"}, headers={"idempotency-key": "a b"}), 422, "invalid_request"
    )


def test_runs_in_pages(client: httpx.Client, name: str) -> None:
    made(client.post("/pipelines", json={**PIPELINE, "name": name}))
    ids = [made(client.post("/runs", json={"pipeline": name}), 202)["run_id"] for _ in range(5)]
    asked: dict[str, str | int] = {"pipeline": name, "limit": 2}
    seen, cursor = list[str](), None
    while True:
        page = made(client.get("/runs", params={**asked, **({"cursor": cursor} if cursor else {})}), 200)
        seen += [run["run_id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 2
    assert seen == ids[::-1]
    first = client.get(f"/runs/{ids[0]}").json()["created_at"]
    assert made(client.get("/runs", params={"pipeline": name, "until": first}), 200)["items"] == []
    assert (
        len(made(client.get("/runs", params={"pipeline": name, "since": first, "state": "queued"}), 200)["items"]) == 5
    )
    assert made(client.get("/runs", params={"pipeline": name, "state": "failed"}), 200)["items"] == []


@pytest.mark.fault("E20")
@pytest.mark.parametrize(
    "query",
    [
        {"limit": "-1"},
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "1000000000"},
        {"limit": "1_0"},
        {"limit": "9" * 5000},
        {"cursor": "garbage"},
        {"cursor": "W10="},
        {"cursor": "WzFd"},
        {"cursor": "bnVsbA=="},
        {"cursor": "WyJ4IiwieSJd"},
        {"cursor": "x" * 3000},
        {"cursor": "\u00e4"},
    ],
)
@pytest.mark.parametrize("address", ["/runs", "/blocs"])
def test_pages_that_nobody_was_given(client: httpx.Client, address: str, query: dict[str, str]) -> None:
    if query == {"cursor": "WyJ4IiwieSJd"} and address == "/blocs":
        return
    refused(client.get(address, params=query), 422, "invalid_request")


@pytest.mark.fault("E19")
@pytest.mark.parametrize("member", ["state", "lease_token", "created_at", "revision", "run_id", "from_document"])
@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/runs", {"pipeline": "orders"}),
        ("/blocs", BLOC),
        ("/triggers", {"name": "x", "pipeline": "orders", "expression": "0 * * * *"}),
        ("/schedulers", {"name": "x", "pipeline": "orders", "trigger_name": "x"}),
    ],
)
def test_members_that_are_not_the_callers_to_set(
    client: httpx.Client, address: str, body: dict[str, Any], member: str
) -> None:
    problem = refused(client.post(address, json={**body, member: "x"}), 422, "invalid_request")
    assert [error["pointer"] for error in problem["errors"]] == [f"/body/{member}"]


@pytest.mark.fault("E11")
@pytest.mark.parametrize(
    "body",
    [
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"name": "\\ud800"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": "a", "name": "b"}',
        b'{"name": "\xff"}',
        '{"name": "a"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"name": "a"}',
        b'{"name": "a\\u0000b"}',
        b"{",
        b"nothing",
        b"[]",
        b"null",
        b'"text"',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_json_that_is_none(client: httpx.Client, body: bytes) -> None:
    response = client.post("/blocs", content=body, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}
    refused(response, response.status_code, response.json()["type"].rpartition(":")[2])


@pytest.mark.fault("E12")
@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None, ""]
)
def test_other_media_types(client: httpx.Client, media_type: str | None) -> None:
    request = client.build_request("POST", "/blocs", content=b"{}")
    if media_type is not None:
        request.headers["content-type"] = media_type
    refused(client.send(request), 415, "media_type")


def test_a_body_that_is_too_large(client: httpx.Client) -> None:
    response = client.post("/blocs", json={**BLOC, "description": "x" * (1 << 20)})
    refused(response, 413, "too_large")


@pytest.mark.fault("E13")
def test_what_is_refused_is_not_repeated(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    for body in (
        {**BLOC, "config": {"password": "hunter2-secret"}},
        {**BLOC, "description": {"password": "hunter2-secret"}},
        {"name": "x", "password": "hunter2-secret"},
    ):
        response = client.post("/blocs", json=body)
        assert response.status_code == 422
        assert "hunter2" not in response.text
    assert "hunter2" not in caplog.text


@pytest.mark.promise("P24")
def test_every_problem_names_its_request(client: httpx.Client) -> None:
    for response in (
        client.get("/nothing"),
        client.patch("/blocs"),
        client.post("/blocs", content=b"{"),
        client.post("/blocs", json={}),
        client.get("/blocs/none"),
    ):
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["instance"] == f"urn:uuid:{response.headers['x-request-id']}"
    assert client.patch("/blocs").headers["allow"] == "GET, POST"


def test_bloc_types_describe_themselves(client: httpx.Client) -> None:
    names = [kind["name"] for kind in made(client.get("/bloc-types"), 200)["items"]]
    assert "csv_loader" in names
    assert made(client.get("/bloc-types/csv_loader"), 200)["config"]["properties"]["file_path"]
    refused(client.get("/bloc-types/nothing"), 404, "unknown_name")


def test_dead_letters_are_found(shared: Api) -> None:
    run_id = made(shared.client.post("/runs", json={"pipeline": "orders"}), 202)["run_id"]
    shared.database.execute(
        "INSERT INTO cableway.dead_letters (run_id, attempt, item_id, stage, bloc, error_type, message, stack,"
        " attempts, payload, payload_bytes) SELECT %s, 1, 'item-' || n, 'load', 'rows', 'ValueError', 'no',"
        " 'line 1', 1, '{}', 2 FROM generate_series(1, 3) AS n",
        run_id,
    )
    page = made(shared.client.get("/dead-letters", params={"run_id": run_id, "limit": 2}), 200)
    assert [(letter["item_id"], letter["pipeline"], letter["stack"]) for letter in page["items"]] == [
        ("item-3", "orders", "line 1"),
        ("item-2", "orders", "line 1"),
    ]
    rest = made(shared.client.get("/dead-letters", params={"run_id": run_id, "cursor": page["next_cursor"]}), 200)
    assert [letter["item_id"] for letter in rest["items"]] == ["item-1"]
    letter_id = rest["items"][0]["letter_id"]
    assert made(shared.client.get(f"/dead-letters/{letter_id}"), 200)["error_type"] == "ValueError"
    refused(shared.client.get("/dead-letters/987654321"), 404, "unknown_name")
    assert made(shared.client.get("/dead-letters", params={"run_id": "x"}), 200)["items"] == []
    assert made(shared.client.get("/dead-letters", params={"state": "resolved"}), 200)["items"] == []


def test_hooks_are_listed_without_their_secrets(shared: Api, name: str) -> None:
    shared.database.add_hook(name, "env:SOMETHING")
    (hook,) = [hook for hook in shared.client.get("/hooks").json()["items"] if hook["name"] == name]
    assert hook == {"name": name, "pipeline": "orders", "enabled": True, "auth": "standard", "path": f"/hooks/{name}"}


def test_the_page_for_people_loads_nothing(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert "/schedulers/{name}" in response.text
    assert "<script" not in response.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    document = client.get("/openapi.json").json()
    assert "security" not in document["paths"]["/blocs"]["get"]


@pytest.mark.fault("E22")
@pytest.mark.parametrize(
    "path", ["//blocs", "/blocs//", "/%2e%2e/blocs", "/blocs;x=1", "/blocs/%2e%2e/runs", "/../blocs"]
)
def test_odd_paths(shared: Api, path: str) -> None:
    connection = http.client.HTTPConnection(*shared.url.removeprefix("http://").split(":"))  # type: ignore[arg-type]
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status in {400, 404}
    connection.close()


@pytest.mark.fault("E22")
@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -5\r\n",
        b"Host: elsewhere\r\n",
        b"X-Odd: a\x00b\r\n",
        b"Transfer-Encoding: gzip, chunked, identity\r\n",
    ],
)
def test_requests_that_have_two_readings(shared: Api, head: bytes) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    start = b"POST /blocs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(start + head + b"\r\n0\r\n\r\nGET /runs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_query_parameter_that_is_not_known_is_refused(client: httpx.Client) -> None:
    answer = client.get("/runs", params={"stat": "failed", "limit": "5"})
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/query/stat"
    assert "is not known here; there are: " in fault["message"]
