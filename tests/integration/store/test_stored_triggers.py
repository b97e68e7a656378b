from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cableway.errors import ConflictError, DefinitionError, InUseError, TakenError, UnknownNameError
from cableway.storage import DatabaseStorage, TriggerChange
from tests.integration.store.conftest import STAGES, document

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CRON = {"kind": "cron", "expression": "0 6 * * *", "timezone": "Europe/Berlin"}
HOOK = {"kind": "webhook", "secrets": ["env:HOOK_SECRET"]}


@pytest.fixture
def hourly(storage: DatabaseStorage) -> None:
    storage.create_trigger("hourly", "numbers", "0 * * * *")


def said(caught: pytest.ExceptionInfo[DefinitionError]) -> set[str]:
    return {fault.pointer for fault in caught.value.faults}


def test_a_trigger_is_changed_key_by_key(storage: DatabaseStorage) -> None:
    storage.create_trigger("hook", "numbers", kind="webhook", config={"secrets": ["env:A"]})
    row = storage.update_trigger("hook", pipeline="other", config={"secrets": ["env:B"]}, enabled=False)
    assert (row.pipeline, row.config, row.enabled, row.revision) == ("other", {"secrets": ["env:B"]}, False, 2)
    assert storage.update_trigger("hook", enabled=False).revision == 2
    with pytest.raises(ConflictError, match="revision 2"):
        storage.update_trigger("hook", enabled=True, expected_revision=1)
    with pytest.raises(ConflictError):
        storage.delete_trigger("hook", expected_revision=1)
    with pytest.raises(DefinitionError, match="belongs to a cron trigger"):
        storage.update_trigger("hook", expression="* * * * *")
    storage.delete_trigger("hook", expected_revision=2)
    for gone in (lambda: storage.delete_trigger("hook"), lambda: storage.update_trigger("hook", enabled=True)):
        with pytest.raises(UnknownNameError, match="no trigger 'hook'"):
            gone()


@pytest.mark.parametrize("expression", ["0 0 31 2 *", "R R * * *", "@daily", "* * * *", "0\n0 * * *", "61 * * * *", ""])
def test_what_is_never_due_is_not_stored(storage: DatabaseStorage, expression: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        storage.create_trigger("t", "numbers", expression)
    assert said(caught) == {"/expression"}
    assert storage.list_triggers() == ()


def test_a_scheduler_has_the_policies_that_it_is_given(storage: DatabaseStorage, hourly: None) -> None:
    plain = storage.create_scheduler("plain", "numbers", "hourly")
    assert (plain.timezone, plain.catchup, plain.catchup_window_s, plain.max_catchup_runs) == (
        "UTC",
        "latest",
        3600,
        10,
    )
    assert (plain.overlap, plain.dst_gap, plain.jitter_s, plain.paused) == (None, "run", 0, False)
    policies: dict[str, Any] = {
        "parameters": {"day": "2026-03-01"},
        "timezone": "America/New_York",
        "dst_gap": "skip",
        "catchup": "all",
        "catchup_window_s": 60.5,
        "max_catchup_runs": 100,
        "overlap": "queue_one",
        "jitter_s": 30,
        "starts_at": NOON,
        "ends_at": NOON + timedelta(days=1),
        "paused": True,
        "pause_note": "während der Wartung",
        "pause_after_failures": 3,
    }
    full = storage.create_scheduler("full", "numbers", "hourly", **policies)
    assert {key: getattr(full, key) for key in policies} == policies
    assert storage.get_scheduler("full") == full
    assert [row.name for row in storage.list_schedulers()] == ["full", "plain"]


def test_a_scheduler_is_changed_key_by_key(storage: DatabaseStorage, hourly: None) -> None:
    storage.create_scheduler("s", "numbers", "hourly", starts_at=NOON)
    row = storage.update_scheduler("s", paused=True, pause_note="until noon", starts_at=None, expected_revision=1)
    assert (row.paused, row.pause_note, row.starts_at, row.revision) == (True, "until noon", None, 2)
    assert storage.update_scheduler("s", paused=True).revision == 2
    with pytest.raises(ConflictError):
        storage.update_scheduler("s", paused=False, expected_revision=1)
    with pytest.raises(ConflictError):
        storage.delete_scheduler("s", expected_revision=1)
    storage.delete_scheduler("s", expected_revision=2)
    for gone in (lambda: storage.delete_scheduler("s"), lambda: storage.update_scheduler("s", paused=True)):
        with pytest.raises(UnknownNameError, match="no scheduler 's'"):
            gone()


@pytest.mark.promise("P22")
def test_all_that_is_wrong_with_a_scheduler_is_said_at_once(storage: DatabaseStorage, hourly: None) -> None:
    wrong: dict[str, Any] = {
        "timezone": "Mars/Olympus",
        "dst_gap": "maybe",
        "catchup": "some",
        "catchup_window_s": float("nan"),
        "max_catchup_runs": 1.5,
        "overlap": [],
        "jitter_s": -1,
        "starts_at": datetime(2026, 1, 1),  # noqa: DTZ001 - a time of nowhere
        "ends_at": "tomorrow",
        "paused": 1,
        "pause_note": "a\x00",
        "pause_after_failures": 0,
        "parameters": {"x": float("inf")},
        "colour": "red",
    }
    with pytest.raises(DefinitionError) as caught:
        storage.create_scheduler("s", "numbers", "hourly", **wrong)
    assert said(caught) == {"/parameters/x", *(f"/{key}" for key in wrong if key != "parameters")}
    with pytest.raises(DefinitionError) as caught:
        storage.create_scheduler("s", "numbers", "hourly", starts_at=NOON, ends_at=NOON)
    assert said(caught) == {"/ends_at"}
    assert storage.list_schedulers() == ()


def test_a_scheduler_needs_a_cron_rule_that_is_there(storage: DatabaseStorage, hourly: None) -> None:
    storage.create_trigger("hook", "numbers", kind="webhook", config={"secrets": ["env:A"]})
    with pytest.raises(DefinitionError, match="no trigger 'nobody'"):
        storage.create_scheduler("s", "numbers", "nobody")
    with pytest.raises(DefinitionError, match="is of kind webhook"):
        storage.create_scheduler("s", "numbers", "hook")
    storage.create_scheduler("s", "numbers", "hourly")
    with pytest.raises(InUseError, match="is named by the scheduler 's'"):
        storage.delete_trigger("hourly")
    with pytest.raises(TakenError, match="there already"):
        storage.create_scheduler("s", "numbers", "hourly")


def test_listeners_hear_of_what_holds(storage: DatabaseStorage, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[str, str, str]] = []

    def hear(change: TriggerChange) -> None:
        # It is committed by now, so it can be read.
        heard.append((change.kind, change.name, change.change))
        raise RuntimeError

    stop = storage.add_trigger_listener(hear)
    storage.create_trigger("t", "numbers", "0 * * * *")
    storage.create_scheduler("s", "numbers", "t")
    storage.update_trigger("t", enabled=False)
    storage.update_trigger("t", enabled=False)
    with pytest.raises(InUseError):
        storage.delete_trigger("t")
    storage.delete_scheduler("s")
    storage.delete_trigger("t")
    expected = [
        ("trigger", "t", "created"),
        ("scheduler", "s", "created"),
        ("trigger", "t", "updated"),
        ("scheduler", "s", "deleted"),
        ("trigger", "t", "deleted"),
    ]
    assert heard == expected
    assert len(caplog.records) == len(expected)
    stop()
    stop()
    storage.create_trigger("t", "numbers", "0 * * * *")
    assert heard == expected


@pytest.mark.usefixtures("blocs")
def test_a_documents_triggers_come_and_go_with_it(storage: DatabaseStorage) -> None:
    storage.save_pipeline(document(triggers={"daily": {**CRON, "parameters": {}}, "hook": HOOK}))
    assert [(row.name, row.kind, row.from_document) for row in storage.list_triggers()] == [
        ("daily", "cron", True),
        ("hook", "webhook", True),
    ]
    scheduler = storage.get_scheduler("daily")
    assert (scheduler.pipeline, scheduler.trigger_name, scheduler.timezone) == ("numbers", "daily", "Europe/Berlin")
    # What somebody has set stays when the document changes.
    storage.update_scheduler("daily", paused=True, catchup="none")
    changed = {**CRON, "expression": "0 7 * * *", "timezone": "UTC"}
    assert not storage.save_pipeline(document(triggers={"daily": changed, "hook": HOOK})).created
    scheduler = storage.get_scheduler("daily")
    assert (scheduler.timezone, scheduler.paused, scheduler.catchup) == ("UTC", True, "none")
    assert storage.get_trigger("daily").expression == "0 7 * * *"
    # A bloc's change, a definition that was read back and another key leave them alone.
    storage.update_bloc("double", config={"factor": 5})
    storage.save_pipeline(storage.get_pipeline("numbers").definition)
    storage.update_pipeline("numbers", description="x")
    assert (storage.get_trigger("daily").revision, storage.get_scheduler("daily").revision) == (2, 3)
    storage.save_pipeline(document(triggers={"hook": HOOK}))
    assert [row.name for row in storage.list_triggers()] == ["hook"]
    assert storage.list_schedulers() == ()
    storage.save_pipeline(document())
    assert storage.list_triggers() == ()


@pytest.mark.usefixtures("blocs")
def test_a_document_takes_nobodys_trigger(storage: DatabaseStorage, hourly: None) -> None:
    storage.create_scheduler("daily", "numbers", "hourly")
    with pytest.raises(TakenError) as caught:
        storage.save_pipeline(document(triggers={"hourly": CRON}))
    assert said(caught) == {"/triggers/hourly"}
    with pytest.raises(TakenError, match="scheduler 'daily'"):
        storage.save_pipeline(document(triggers={"daily": CRON}))
    assert storage.list_pipelines() == ()
    storage.save_pipeline(document(triggers={"hook": HOOK}))
    with pytest.raises(TakenError, match="'hook'"):
        storage.save_pipeline({"name": "other", "stages": STAGES, "triggers": {"hook": HOOK}})
    assert [row.name for row in storage.list_pipelines()] == ["numbers"]
    assert [row.name for row in storage.list_triggers()] == ["hook", "hourly"]
