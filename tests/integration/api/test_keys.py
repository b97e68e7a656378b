"""Who is let in: nobody without a key once there is one, and with one as far as its scopes reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway_handlers.api import openapi
from cableway_handlers.api.access import BARE_PATHS, OPEN_PATHS
from cableway_handlers.api.app import Access, create_app
from cableway_handlers.api.database import DatabaseDesk
from cableway_handlers.api.front import Front
from cableway_handlers.api.keys import NewKey, create_key, revoke_key
from tests.fixtures.postgres import Postgres
from tests.integration.api.conftest import PIPELINE, Api, Database, RecordingLaunches
from tests.integration.api.serving import NO_TLS, refused, serving


def new_key(database: Database, name: str, *scopes: str, **limits: Any) -> NewKey:
    with DatabaseStorage(DatabaseSettings(url=database.conninfo)) as storage:
        return storage.session.drive(create_key(name, scopes, **limits))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def closed(postgres: Postgres) -> Iterator[Api]:
    """A server that needs keys, as one beyond the loopback does."""
    name = postgres.create_database()
    stored, launches = Database(postgres.conninfo(name)), RecordingLaunches()
    stored.add_pipeline()
    with DatabaseStorage(DatabaseSettings(url=stored.conninfo)) as storage:
        storage.save_pipeline({**PIPELINE, "name": "other"})
        storage.create_bloc("shared", "csv_loader", {"file_path": "data.csv"})
        for pipeline in ("orders", "other"):
            storage.create_trigger(f"{pipeline}-hourly", pipeline, "0 * * * *")
            storage.create_scheduler(f"{pipeline}-hourly", pipeline, f"{pipeline}-hourly")
    desk = DatabaseDesk(DatabaseSettings(url=stored.conninfo))
    app = create_app(desk, launches, environment={}, access=Access(closed=True))
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False, verify=NO_TLS) as client:
        yield Api(url, stored, launches, {}, client)
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def keys(closed: Api) -> dict[str, str]:
    """Keys by what they may do."""
    made = {
        scope: new_key(closed.database, scope, scope).text for scope in ("read", "write", "run", "admin", "read:runs")
    }
    limited = new_key(closed.database, "limited", "read", "write", "run", pipelines=["orders"])
    return {**made, "limited": limited.text}


def operations() -> list[tuple[str, str, str | None]]:
    """Method, path and scope of every route, the hooks' own aside."""
    app = create_app(DatabaseDesk(DatabaseSettings(url="postgresql://x@/x")), RecordingLaunches(), environment={})
    assert isinstance(app, Front)
    found: list[tuple[str, str, str | None]] = []
    for route in openapi.api_routes(app.app):  # type: ignore[arg-type]
        need = openapi.need_of(route)
        scope = None if need is None else f"{need.verb}:{need.resource}"
        found += [(method, route.path, scope) for method in sorted(route.methods or ())]
    return found


OPERATIONS = operations()
GUARDED = [operation for operation in OPERATIONS if operation[1] not in OPEN_PATHS | BARE_PATHS]


def address(path: str) -> str:
    names = {"{name}": "x", "{run_id}": "x", "{version}": "1", "{letter_id}": "1"}
    for mark, value in names.items():
        path = path.replace(mark, value)
    return path


@pytest.mark.promise("P25")
@pytest.mark.fault("E16")
@pytest.mark.fault("E23")
def test_every_route_is_closed_without_a_key(closed: Api) -> None:
    assert {"/docs", "/openapi.json", "/runs", "/hooks"} <= {path for _, path, _ in GUARDED}
    for method, path, _ in GUARDED:
        response = closed.client.request(method, address(path))
        refused(response, 401, "key_needed")
        assert response.headers["www-authenticate"].startswith("Bearer")
    for path in ("/metrics", "/", "/nothing", "/docs/", "/openapi.json/"):
        refused(closed.client.get(path), 401, "key_needed")


@pytest.mark.promise("P25")
@pytest.mark.fault("E16")
def test_every_route_needs_its_scope(closed: Api, keys: dict[str, str]) -> None:
    for method, path, scope in GUARDED:
        if scope is None:
            continue
        for key in ("read", "write", "run", "read:runs"):
            response = closed.client.request(method, address(path), headers=bearer(keys[key]))
            assert (response.status_code == 403) is not (key in {scope, scope.partition(":")[0]}), (method, path, key)
        admin = closed.client.request(method, address(path), headers=bearer(keys["admin"]))
        assert admin.status_code not in {401, 403}


@pytest.mark.fault("E23")
def test_health_says_only_up_or_down_without_a_key(closed: Api, keys: dict[str, str]) -> None:
    for headers in ({}, bearer("cw_nothing"), {"authorization": "Basic x"}):
        response = closed.client.get("/health", headers=headers)
        assert (response.status_code, response.json()) == (200, {"status": "up"})
    shown = closed.client.get("/health", headers=bearer(keys["read"])).json()
    assert shown == {"status": "up", "database": "up", "scheduler": "off"}
    for path in OPEN_PATHS:
        assert closed.client.get(path, headers={"host": "anything.example"}).json() == {"status": "up"}


def test_a_key_opens_from_anywhere(closed: Api, keys: dict[str, str]) -> None:
    response = closed.client.get("/pipelines", headers={**bearer(keys["read"]), "host": "cableway.example"})
    assert [row["name"] for row in response.json()["items"]] == ["orders", "other"]
    shown = closed.client.get("/openapi.json", headers=bearer(keys["read:runs"])).json()
    assert shown["paths"]["/blocs"]["get"]["security"] == [{"key": []}]
    assert shown["paths"]["/blocs"]["get"]["x-cableway-scope"] == "read:blocs"


@pytest.mark.fault("E17")
@pytest.mark.fault("E18")
def test_keys_that_open_nothing(closed: Api, keys: dict[str, str]) -> None:
    read, write = keys["read"], keys["write"]
    revoked = new_key(closed.database, "revoked", "read")
    expired = new_key(closed.database, "expired", "read", expires_in_s=60)
    closed.database.execute("UPDATE cableway.api_keys SET expires_at = now() WHERE prefix = %s", expired.key.prefix)
    with DatabaseStorage(DatabaseSettings(url=closed.database.conninfo)) as storage:
        storage.session.drive(revoke_key("revoked"))
    wrong = [
        "cw_",
        read[:-1],
        read + "A",
        read.upper(),
        read[:15] + "_" + write[16:],
        "cw_000000000000_" + read[16:],
        read.replace("_", "-"),
        revoked.text,
        expired.text,
        "x" * 20_000,
    ]
    for key in wrong:
        refused(closed.client.get("/blocs", headers=bearer(key)), 401, "key_needed")
    for authorization in (
        b"Bearer \xe9",
        b"Bearer",
        b"Basic eDp4",
        b"bearer  " + read.encode(),
        b"\xff\xfe",
        read.encode(),
    ):
        response = closed.client.get("/blocs", headers=[(b"authorization", authorization)])
        refused(response, 401, "key_needed")
    assert closed.client.get("/blocs", headers={"authorization": f"bearer {read}"}).status_code == 200


@pytest.mark.fault("E16")
def test_a_limited_key_knows_of_no_other_pipeline(closed: Api, keys: dict[str, str]) -> None:
    admin, limited = bearer(keys["admin"]), bearer(keys["limited"])
    ask = closed.client
    runs = {
        pipeline: ask.post("/runs", json={"pipeline": pipeline}, headers=admin).json()["run_id"]
        for pipeline in ("orders", "other")
    }
    for list_of in ("pipelines", "triggers", "schedulers"):
        rows = ask.get(f"/{list_of}", headers=limited).json()["items"]
        assert {row.get("pipeline", row["name"]) for row in rows} == {"orders"}
    assert {row["pipeline"] for row in ask.get("/runs", headers=limited).json()["items"]} == {"orders"}

    any_tag = {**limited, "if-match": "*"}
    rule = {"pipeline": "orders", "expression": "0 * * * *"}
    tie = {"pipeline": "orders", "trigger_name": "orders-hourly"}
    for answer in (
        ask.get("/pipelines/other", headers=limited),
        ask.get("/pipelines/other/versions", headers=limited),
        ask.get("/pipelines/other/versions/1", headers=limited),
        ask.put("/pipelines/other", headers=any_tag, json={**PIPELINE, "name": "other"}),
        ask.post("/pipelines", headers=limited, json={**PIPELINE, "name": "third"}),
        ask.post("/pipelines/other/rollback", headers=limited),
        ask.post("/pipelines/other/versions/1/activate", headers=limited),
        ask.delete("/pipelines/other", headers=limited),
        ask.get("/triggers/other-hourly", headers=limited),
        ask.put("/triggers/other-hourly", headers=any_tag, json=rule),
        ask.put("/triggers/orders-hourly", headers=any_tag, json={**rule, "pipeline": "other"}),
        ask.post("/triggers", headers=limited, json={**rule, "pipeline": "other", "name": "mine"}),
        ask.delete("/triggers/other-hourly", headers=limited),
        ask.get("/schedulers/other-hourly", headers=limited),
        ask.put("/schedulers/other-hourly", headers=any_tag, json=tie),
        ask.put("/schedulers/orders-hourly", headers=any_tag, json={**tie, "pipeline": "other"}),
        ask.delete("/schedulers/other-hourly", headers=limited),
        ask.post("/runs", headers=limited, json={"pipeline": "other"}),
        ask.get(f"/runs/{runs['other']}", headers=limited),
        ask.get(f"/runs/{runs['other']}/spans", headers=limited),
        ask.get(f"/runs/{runs['other']}/dead-letters", headers=limited),
        ask.post(f"/runs/{runs['other']}/cancel", headers=limited),
        ask.post("/schedulers/other-hourly/trigger", headers=limited),
        ask.post("/schedulers/other-hourly/pause", headers=limited),
        ask.get("/schedulers/other-hourly/preview", headers=limited),
    ):
        assert answer.status_code == 404, answer.request.url
    assert ask.get(f"/runs/{runs['orders']}", headers=limited).status_code == 200
    assert ask.put("/triggers/orders-hourly", headers=any_tag, json=rule).status_code == 200
    refused(ask.get("/blocs", headers=limited), 403, "forbidden")
    assert "other" not in ask.post("/runs", headers=limited, json={"pipeline": "none"}).text


def test_stacks_are_behind_their_own_scope(closed: Api, keys: dict[str, str]) -> None:
    run = closed.client.post("/runs", json={"pipeline": "orders"}, headers=bearer(keys["run"])).json()
    closed.database.execute(
        "INSERT INTO cableway.dead_letters (run_id, attempt, item_id, stage, bloc, error_type, message, stack,"
        " attempts, payload, payload_bytes)"
        " VALUES (%s, 1, 'i', 'load', 'rows', 'ValueError', 'no', 'line 1', 1, '{}', 2)",
        run["run_id"],
    )
    stacks = new_key(closed.database, "stacks", "read", "read:stacks").text
    shown = {
        key: closed.client.get("/dead-letters", headers=bearer(key)).json()["items"][0]["stack"]
        for key in (keys["read"], keys["admin"], stacks)
    }
    assert list(shown.values()) == [None, "line 1", "line 1"]


def test_a_keys_use_is_noted(closed: Api, keys: dict[str, str]) -> None:
    key = new_key(closed.database, "noted", "read").text
    closed.client.get("/blocs", headers=bearer(key))
    (row,) = closed.database.rows("SELECT last_used_at IS NOT NULL AS used FROM cableway.api_keys WHERE name = 'noted'")
    assert row["used"]


def test_no_secret_is_kept(closed: Api, keys: dict[str, str]) -> None:
    text = str(closed.database.rows("SELECT k::text FROM cableway.api_keys AS k"))
    assert not any(key[16:] in text for key in keys.values())


@pytest.mark.promise("P25")
def test_the_first_key_closes_a_server_that_was_open(api: Api) -> None:
    assert api.client.get("/blocs").status_code == 200
    key = new_key(api.database, "first", "read")
    # It may take a second to be noticed, and is at once where the question comes with a new server.
    app = create_app(DatabaseDesk(DatabaseSettings(url=api.database.conninfo)), api.launches, environment={})
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, verify=NO_TLS) as client:
        refused(client.get("/blocs"), 401, "key_needed")
        assert client.get("/blocs", headers=bearer(key.text)).status_code == 200
        with DatabaseStorage(DatabaseSettings(url=api.database.conninfo)) as storage:
            storage.session.drive(revoke_key("first"))
        refused(client.get("/blocs", headers=bearer(key.text)), 401, "key_needed")
    app = create_app(DatabaseDesk(DatabaseSettings(url=api.database.conninfo)), api.launches, environment={})
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, verify=NO_TLS) as client:
        refused(client.get("/blocs"), 401, "key_needed")


@pytest.mark.fault("E21")
def test_who_asks_too_often_is_told_to_wait(stored: Database) -> None:
    desk = DatabaseDesk(DatabaseSettings(url=stored.conninfo))
    app = create_app(desk, RecordingLaunches(), environment={}, access=Access(closed=True, rate_per_s=0.01, burst=5))
    keys = [new_key(stored, name, "read").text for name in ("one", "two")]
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, verify=NO_TLS) as client:
        answers = [client.get("/blocs", headers=bearer(keys[0])) for _ in range(50)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 45
        refused(answers[-1], 429, "too_many_requests")
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
        assert client.get("/blocs", headers=bearer(keys[1])).status_code == 200
        strangers = [client.get("/blocs").status_code for _ in range(7)]
        assert strangers == [401] * 5 + [429] * 2
        assert client.get("/healthz").status_code == 200


@pytest.mark.fault("E21")
def test_how_often_is_a_setting(stored: Database) -> None:
    desk = DatabaseDesk(DatabaseSettings(url=stored.conninfo))
    app = create_app(desk, RecordingLaunches(), environment={"CABLEWAY_API_RATE": "1"}, access=Access(closed=True))
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, verify=NO_TLS) as client:
        answers = [client.get("/blocs").status_code for _ in range(40)]
    assert answers[:4] == [401] * 4
    assert 429 in answers
