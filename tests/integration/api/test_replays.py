"""What failed is worked on again when somebody asks the API for it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import Api
from tests.integration.api.serving import refused

WHERE = "store"


def made(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json()


@pytest.fixture
def failed(api: Api) -> str:
    """A run that failed, with three dead letters."""
    rows = {"name": "rows", "bloc_type": "csv_loader", "config": {"file_path": "data.csv", "batch_size": 2}}
    out = {"table_name": "o", "if_exists": "append"}
    stages = [
        {"name": "load", "blocs": [rows]},
        {"name": WHERE, "blocs": [{"name": "out", "bloc_type": "postgres_exporter", "config": out}]},
    ]
    made(api.client.post("/pipelines", json={"name": "failing", "stages": stages}), 201)
    run_id: str = made(api.client.post("/runs", json={"pipeline": "failing"}), 202)["run_id"]
    api.database.execute(
        "INSERT INTO cableway.dead_letters (run_id, attempt, item_id, stage, bloc, error_type, message, attempts,"
        " payload, payload_bytes) SELECT %s, 1, 'i' || n, 'store', 'out', 'E' || n, 'no', 1, '{\"rows\": []}', 12"
        " FROM generate_series(1, 3) AS n",
        run_id,
    )
    return run_id


def _ends(api: Api, run_id: str, state: str) -> None:
    api.database.execute(
        "UPDATE cableway.runs SET state = %s, ended_at = now(), has_place = false WHERE run_id = %s", state, run_id
    )


def _letters(api: Api, **query: Any) -> list[tuple[str, str | None]]:
    found = made(api.client.get("/dead-letters", params=query), 200)["items"]
    return [(letter["state"], letter["replay_run_id"]) for letter in found]


def test_dead_letters_are_replayed_and_a_run_is_tried_again(api: Api, failed: str) -> None:
    assert "is queued" in refused(api.client.post(f"/runs/{failed}/replay", json={}), 409, "not_replayable")["detail"]
    assert "is queued" in refused(api.client.post(f"/runs/{failed}/retry", json={}), 409, "not_replayable")["detail"]
    _ends(api, failed, "failed")
    (first,) = made(api.client.post(f"/runs/{failed}/replay", json={"error_type": "E2"}), 202)["runs"]
    assert first == {"run_id": first["run_id"], "replay_of": failed, "stage": WHERE, "letters": 1}
    (second,) = made(api.client.post("/dead-letters/replay", json={"pipeline": "failing", "limit": 1}), 202)["runs"]
    assert _letters(api, run_id=failed, bloc="out") == [
        ("open", None),
        ("replaying", first["run_id"]),
        ("replaying", second["run_id"]),
    ]
    assert made(api.client.get(f"/runs/{first['run_id']}"), 200)["replay_of"] == failed
    assert made(api.client.post(f"/runs/{failed}/retry", json={}), 202)["state"] == "queued"
    _ends(api, failed, "failed")
    again = made(api.client.post(f"/runs/{failed}/retry", json={"from_stage": WHERE}), 202)
    assert (again["replay_of"], again["run_id"] != failed) == (failed, True)
    launched = [launch.run_id for launch in api.launches.launches]
    assert launched[-4:] == [first["run_id"], second["run_id"], failed, again["run_id"]]
    assert _letters(api, run_id=failed, state="open") == []


def test_what_cannot_be_replayed_changes_nothing(api: Api, failed: str) -> None:
    _ends(api, failed, "failed")
    before = api.database.rows("SELECT count(*) AS count FROM cableway.runs")
    nothing = "01999999-0000-7000-8000-000000000000"
    for path in (f"/runs/{nothing}/replay", f"/runs/{nothing}/retry", "/runs/x/replay"):
        refused(api.client.post(path, json={}), 404, "unknown_run")
    refused(api.client.post("/dead-letters/replay", json={"run_id": nothing}), 404, "unknown_run")
    refused(api.client.post("/dead-letters/replay", json={"letters": [10**9]}), 409, "not_replayable")
    refused(api.client.post(f"/runs/{failed}/replay", json={"version": 7}), 409, "not_replayable")
    refused(api.client.post(f"/runs/{failed}/retry", json={"from_stage": "none"}), 409, "not_replayable")
    assert api.client.post(f"/runs/{failed}/replay", json={"limit": 0}).status_code == 422
    assert api.database.rows("SELECT count(*) AS count FROM cableway.runs") == before
    assert {state for state, _ in _letters(api, run_id=failed)} == {"open"}
