"""``cableway scheduler``, ``tick`` and ``schedulers``, over a real database and real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway_handlers.cli.background import start_in_background
from tests.unit.cli.conftest import Command


@pytest.fixture
def storage(database: str, cableway: Command) -> Iterator[DatabaseStorage]:
    with DatabaseStorage(DatabaseSettings(url=database)) as storage:
        assert cableway("apply", "tiny.yaml") == 0, cableway.err
        storage.create_trigger("rule", "tiny", "30 2 * * *")
        storage.create_scheduler("nightly", "tiny", "rule", timezone="Europe/Paris", parameters={"day": "2027-01-01"})
        yield storage


def make_due(storage: DatabaseStorage) -> None:
    storage.update_trigger("rule", expression="0 * * * *")
    text = b"UPDATE cableway.schedulers SET decided_to = now() - interval '1 hour', next_at = now()"
    storage.session.connection().execute(text)


def test_a_scheduler_is_listed_paused_and_resumed(cableway: Command, storage: DatabaseStorage) -> None:
    assert cableway("schedulers", "list") == 0
    assert all(word in cableway.out for word in ("nightly", "tiny", "30 2 * * *", "Europe/Paris", "active", "02:30 +0"))
    assert cableway("schedulers", "pause", "nightly", "--note", "the source moves") == 0
    assert cableway.json("schedulers", "list")[0]["state"] == "paused"
    assert cableway("schedulers", "show", "nightly") == 0
    assert "state paused: the source moves" in cableway.out
    assert cableway.json("schedulers", "resume", "nightly")["paused"] is False
    assert cableway.json("schedulers", "show", "nightly")["state"] == "active"
    assert cableway("schedulers", "show", "nobody") == 78
    storage.session.connection().execute(b"UPDATE cableway.triggers SET expression = 'R R * * *'")
    assert cableway("schedulers", "show", "nightly") == 0
    assert "state error" in cableway.out


@pytest.mark.promise("P8")
def test_a_preview_tells_what_the_clocks_do(cableway: Command, storage: DatabaseStorage) -> None:
    fires = cableway.json("schedulers", "preview", "nightly", "--from", "2027-03-27", "-n", "3")
    assert [fire["at"] for fire in fires] == [
        "2027-03-27T01:30:00+00:00",
        "2027-03-28T01:00:00+00:00",
        "2027-03-29T00:30:00+00:00",
    ]
    assert [fire["mark"] for fire in fires] == ["", "gap", ""]
    rule = ("schedulers", "preview", "--expression", "30 1 * * *", "--timezone", "America/New_York")
    assert cableway(*rule, "--from", "2026-11-01", "-n", "1") == 0
    assert "comes twice; this is the first" in cableway.out
    assert "utc" in cableway.out
    assert cableway("schedulers", "preview", "--expression", "30 1 * * *", "--from", "2026-11-01", "-n", "1") == 0
    lines = [line.rstrip() for line in cableway.out.splitlines()]
    assert lines == ["local", "Sun 2026-11-01 01:30 +0000"], "one clock is enough for UTC"
    assert cableway("schedulers", "preview") == 2
    assert cableway("schedulers", "preview", "--expression", "0 0 30 2 *") == 78
    assert "never due" in cableway.err
    assert cableway("schedulers", "preview", "--expression", "0 0 * * *", "--timezone", "../../etc/passwd") == 78


@pytest.mark.promise("P1")
def test_a_tick_runs_what_is_due_and_ends(cableway: Command, storage: DatabaseStorage) -> None:
    make_due(storage)
    done = cableway.json("tick")
    assert (len(done["fired"]), done["launched"], done["faulty"]) == (1, 1, [])
    assert cableway("tick") == 0
    assert "0 ticks fired" in cableway.err
    run_id = done["fired"][0]["run_id"]
    deadline = time.monotonic() + 30
    while storage.get_run(run_id).run.ended_at is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    assert storage.get_run(run_id).run.state == "succeeded"
    assert cableway("schedulers", "show", "nightly") == 0
    assert run_id in cableway.out


def test_a_run_can_be_had_now_and_for_times_gone_by(cableway: Command, storage: DatabaseStorage) -> None:
    made = cableway.json("schedulers", "trigger", "nightly", "-p", "day=2027-02-02")
    assert storage.get_run(made["run_id"]).run.parameters["day"] == "2027-02-02"
    span = ("schedulers", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-30")
    assert cableway(*span, "--dry-run") == 0
    assert "2 runs would be recorded by 30 2 * * *" in cableway.err
    assert "2026-03-29 03:00" in cableway.out
    assert len(storage.list_runs()) == 1
    assert len(cableway.json(*span)["run_ids"]) == 2
    assert cableway.json(*span)["already"] == 2
    assert len(storage.list_runs()) == 3


def test_the_scheduler_runs_in_the_background_until_it_is_told_to_end(
    cableway: Command, storage: DatabaseStorage
) -> None:
    make_due(storage)
    assert cableway("scheduler", "--background", "--env", "SOURCE=prod", "--scheduler-names", "nightly") == 0
    pid = int(cableway.out)
    try:
        assert os.getsid(pid) == pid, "it has a session of its own"
        assert b"SOURCE=prod" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        deadline = time.monotonic() + 40
        while not any(row.ended_at for row in storage.list_runs()):
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert [row.state for row in storage.list_runs()] == ["succeeded"]
    assert "the scheduler runs" in (Path(".cableway") / "scheduler.out").read_text()


def test_what_cannot_begin_says_so(cableway: Command, storage: DatabaseStorage) -> None:
    assert cableway("scheduler", "--scheduler-names", "nobody") == 78
    assert cableway("scheduler", "--scheduler-names", ",") == 2
    assert cableway("scheduler", "--env", "SOURCE") == 2
    assert cableway("scheduler", "--background", "--scheduler-names", "nobody") == 69
    assert "exit code 78" in cableway.err
    Path("a-file").touch()
    with pytest.raises(UnavailableError, match=r"cannot be written: .*; start it in a folder of yours"):
        start_in_background(["version"], Path("a-file") / "out", {}, ready="x")
