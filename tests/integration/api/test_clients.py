"""The clients against the API: what they are answered is what their types say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from cableway_handlers.client import AsyncCablewayClient, CablewayClient, ClientError, HttpClient, options, shapes
from tests.integration.api.conftest import PIPELINE, Api

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SCHEMAS = {
    "BlocRow": shapes.Bloc,
    "BlocType": shapes.BlocType,
    "PipelineRow": shapes.PipelineEntry,
    "PipelineView": shapes.Pipeline,
    "VersionEntry": shapes.VersionEntry,
    "TriggerRow": shapes.Trigger,
    "SchedulerRow": shapes.Scheduler,
    "Fire": shapes.Fire,
    "Preview": shapes.Preview,
    "Backfill": shapes.Backfill,
    "TickRow": shapes.Tick,
    "RunRow": shapes.RunEntry,
    "AttemptRow": shapes.Attempt,
    "StageRecord": shapes.Stage,
    "RunView": shapes.Run,
    "SpanRow": shapes.Span,
    "LetterRow": shapes.DeadLetter,
    "Hook": shapes.Hook,
    "LimitRow": shapes.Limit,
    "DeliveryRow": shapes.Delivery,
    "Health": shapes.Health,
}


FILTERS = {
    "/runs": options.RunFilters,
    "/dead-letters": options.LetterFilters,
    "/deliveries": options.DeliveryFilters,
}
BODIES: dict[str, tuple[type, set[str]]] = {
    "NewScheduler": (options.Policies, {"name", "pipeline", "trigger_name"}),
    "NewBackfill": (options.BackfillOptions, {"since", "until", "dry_run"}),
    "Failed": (options.RunReplay, set()),
    "FailedAnywhere": (options.LetterReplay, set()),
}


@pytest.fixture
def client(api: Api) -> Iterator[CablewayClient]:
    with CablewayClient(api.url) as client:
        yield client


def test_the_types_have_the_members_that_the_api_describes(api: Api) -> None:
    described: dict[str, Any] = api.client.get("/openapi.json").json()["components"]["schemas"]
    for name, shape in SCHEMAS.items():
        assert get_type_hints(shape).keys() == described[name]["properties"].keys(), name


def test_what_may_be_given_by_name_is_what_the_api_takes(api: Api) -> None:
    document: dict[str, Any] = api.client.get("/openapi.json").json()
    for path, filters in FILTERS.items():
        taken = {each["name"] for each in document["paths"][path]["get"]["parameters"] if each["in"] == "query"}
        assert get_type_hints(filters).keys() == taken - {"cursor", "limit"}, path
    for name, (given, aside) in BODIES.items():
        assert get_type_hints(given).keys() == document["components"]["schemas"][name]["properties"].keys() - aside, (
            name
        )


def test_a_first_look_around(client: CablewayClient) -> None:
    health = client.health_check()
    assert health["status"] == "up"
    new_bloc = client.create_bloc(name="my-new-bloc", bloc_type="csv_loader", config={"file_path": "data.csv"})
    assert new_bloc["name"] == "my-new-bloc"
    pipelines = client.list_pipelines()
    assert [pipeline["name"] for pipeline in pipelines] == ["orders"]


def test_all_that_can_be_asked_of_definitions(client: CablewayClient) -> None:
    bloc = client.create_bloc("rows", "csv_loader", {"file_path": "data.csv"})
    assert client.update_bloc("rows", "csv_loader", {"file_path": "b.csv"}, expected_revision=1)["revision"] == 2
    with pytest.raises(ClientError) as raised:
        client.update_bloc("rows", "csv_loader", expected_revision=1)
    assert raised.value.answered == 412
    assert [row["name"] for row in client.list_blocs(bloc_type="csv_loader")] == [bloc["name"]]

    made = client.create_pipeline("flow", [["rows"]], note="first", description="a flow")
    assert (made["version"], made["description"]) == (1, "a flow")
    assert client.update_pipeline({**PIPELINE, "name": "flow"}, expected_version=1)["version"] == 2
    assert client.roll_back("flow")["version"] == 1
    assert client.activate("flow", 2, expected_version=1)["version"] == 2
    assert client.get_pipeline("flow", 1)["document"]["stages"] == [["rows"]]
    assert [entry["version"] for entry in client.list_versions("flow")] == [2, 1]

    client.delete_pipeline("flow", expected_version=2)
    client.delete_bloc("rows")
    assert client.list_blocs() == []
    assert [row["name"] for row in client.list_pipelines(archived=True)] == ["flow"]


def test_all_that_can_be_asked_of_schedulers_and_runs(client: CablewayClient) -> None:
    document: dict[str, Any] = {**PIPELINE, "name": "flow"}
    client.create_pipeline(**document)
    trigger = client.create_trigger("hourly", "flow", "0 * * * *")
    assert client.update_trigger("hourly", "flow", "5 * * * *", expected_revision=trigger["revision"])["enabled"]
    scheduler = client.create_scheduler("hourly", "flow", "hourly", jitter_s=5)
    assert scheduler["jitter_s"] == 5
    assert client.update_scheduler("hourly", "flow", "hourly")["jitter_s"] == 0
    assert client.pause_scheduler("hourly", "lunch")["pause_note"] == "lunch"
    assert client.resume_scheduler("hourly")["paused"] is False
    assert len(client.preview_scheduler("hourly", limit=3)["fires"]) == 3
    past = datetime(2026, 1, 31, tzinfo=UTC)
    ahead = client.backfill_scheduler("hourly", past, past + timedelta(hours=3), dry_run=True)
    assert (len(ahead["ticks"]), ahead["run_ids"]) == (3, [])
    with pytest.raises(ClientError, match="422"):
        client.backfill_scheduler("hourly", past, past + timedelta(hours=3), at_most=2)
    made = client.backfill_scheduler("hourly", past, past + timedelta(hours=1))
    assert [client.get_run(run_id)["scheduled_at"] for run_id in made["run_ids"]] == ["2026-01-31T00:05:00Z"]
    run = client.trigger_scheduler("hourly", {"day": "2026-01-31"})
    assert (run["scheduler_name"], run["parameters"]["day"]) == ("hourly", "2026-01-31")
    assert client.list_ticks("hourly") == [] or client.list_ticks("hourly")[0]["scheduler_name"] == "hourly"

    other = client.create_run("flow", {"count": 2})
    assert client.get_run(other["run_id"])["state"] == "queued"
    assert client.cancel_run(other["run_id"])["state"] == "cancelled"
    assert {row["run_id"] for row in client.list_runs(pipeline="flow")} == {
        run["run_id"],
        other["run_id"],
        *made["run_ids"],
    }
    assert [client.list_attempts(other["run_id"]), client.list_stages(other["run_id"])] == [[], []]
    assert client.list_spans(other["run_id"]) == []
    with pytest.raises(ClientError, match="409"):
        client.explain_run(other["run_id"])
    assert client.list_dead_letters(run_id=other["run_id"]) == []
    assert [hook["name"] for hook in client.list_hooks()] == ["orders"]
    assert client.list_deliveries(trigger="orders") == []
    assert client.set_limit("crm", concurrency=3)["concurrency"] == 3
    assert client.set_limit("crm", rate=5, period_s=60)["rate"] == 5
    assert client.list_limits() == [client.get_limit("crm")]
    client.delete_limit("crm")
    with pytest.raises(ClientError):
        client.delete_limit("crm")
    assert client.get_bloc_type("csv_loader") in client.list_bloc_types()

    client.delete_scheduler("hourly", expected_revision=client.get_scheduler("hourly")["revision"])
    client.delete_trigger("hourly")
    assert client.list_schedulers() == []


async def test_with_an_event_loop(api: Api) -> None:
    async with AsyncCablewayClient(api.url) as client:
        assert (await client.health_check())["status"] == "up"
        run = await client.create_run("orders")
        assert [row["run_id"] for row in await client.list_runs()] == [run["run_id"]]
        with pytest.raises(ClientError):
            await client.get_dead_letter(1)


def test_any_address_of_it(api: Api) -> None:
    with HttpClient(api.url) as client:
        assert client.get("/blocs")["items"] == []
        assert client.post("/runs", json_data={"pipeline": "orders"})["pipeline"] == "orders"


def test_the_page_on_clients_prints_what_it_says(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(CablewayClient.__init__, "__defaults__", (api.url, None))
    monkeypatch.setattr(AsyncCablewayClient.__init__, "__defaults__", (api.url, None))
    api.client.delete("/pipelines/orders")
    blocks = BLOCK.findall(Path("docs/clients.md").read_text())
    # The first one asks a service that is only an example.
    programs, outputs = ([text for kind, text in blocks if kind == wanted] for wanted in ("python", "text"))
    for program, output in zip(programs[1:], outputs, strict=True):
        names: dict[str, Any] = {"__name__": "page"}
        exec(compile(program, "docs/clients.md", "exec"), names)
        assert capsys.readouterr().out == output
        if isinstance(names.get("client"), CablewayClient):
            names["client"].close()
