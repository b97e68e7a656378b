"""What the API answers beside hooks: health, runs, and problems for all else."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.integration.api.conftest import Api
from tests.integration.api.test_hooks import assert_problem


def test_health_tells_what_is_up(api: Api) -> None:
    assert api.client.get("/health").json() == {"status": "up", "database": "up", "scheduler": "off"}
    assert api.client.get("/healthz").json() == {"status": "up"}
    places = api.client.get("/").json()
    assert {name: api.client.get(path).status_code for name, path in places.items()} == dict.fromkeys(places, 200)
    assert api.client.get("/readyz").json() == {"status": "up"}


def test_another_schema_is_not_ready(api: Api) -> None:
    api.database.execute("UPDATE cableway.migrations SET number = number + 100")
    assert api.client.get("/readyz").status_code == 503
    assert api.client.get("/health").json() == {"status": "down", "database": "down", "scheduler": "off"}


@pytest.mark.promise("P24")
def test_every_error_is_a_problem(api: Api) -> None:
    assert_problem(api.client.get("/nothing"), 404, "not_found")
    assert_problem(api.client.get("//hooks/orders"), 404, "not_found")
    assert_problem(api.client.delete("/health"), 405, "method_not_allowed")
    for run_id in (str(uuid4()), "x", "%00"):
        assert_problem(api.client.get(f"/runs/{run_id}"), 404, "unknown_run")


@pytest.mark.promise("P25")
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "0.0.0.0", "", "[::2]", "localhost.evil"])
def test_a_foreign_host_header_is_refused(api: Api, host: str) -> None:
    assert_problem(api.client.get("/health", headers={"host": host}), 403, "foreign_host")


@pytest.mark.promise("P25")
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:80", "[::1]"])
def test_the_loopbacks_names_are_answered(api: Api, host: str) -> None:
    assert api.client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.promise("P24")
def test_a_problem_of_a_hook_names_its_request_too(api: Api) -> None:
    for response in (api.client.get("/hooks/orders"), api.client.post("/hooks/orders", json={})):
        assert response.json()["instance"] == f"urn:uuid:{response.headers['x-request-id']}"
