"""``cableway runs list|cancel|logs|watch|explain``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cableway import DatabaseStorage
from cableway.runs import RunRequest, record_run
from cableway.settings import get_environment, get_settings
from cableway.store.port import RunState
from cableway_handlers.cli.workplace import LAUNCHES
from cableway_handlers.launch.local import LocalLauncher
from cableway_handlers.launch.protocol import Launch
from tests.unit.cli.conftest import Command

ROOT = Path(__file__).resolve().parents[3]
ASKING = """
name: asking
stages:
  - name: read
    blocs: [{{name: rows, bloc_type: csv_loader, config: {{file_path: many.csv, batch_size: 1}}}}]
  - name: ask
    workers: {workers}
    lane: async
    blocs:
      - name: asked
        bloc_type: python
        config: {{function: "tests.integration.cli.waiting:ask", frames: arrow, arguments: {{usual_s: {usual_s}}}}}
  - name: end
    blocs: [{{name: same, bloc_type: pass_through}}]
"""


@pytest.fixture
def asking(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with what the pipeline `ASKING` needs."""
    monkeypatch.setenv("CABLEWAY_BLOCS", "tests.integration.cli.waiting")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("many.csv").write_text("a\n" + "".join(f"{number}\n" for number in range(100)))
    return cableway


def ran(cableway: Command, workers: int, usual_s: float = 0.02) -> Any:
    """A run of `ASKING` with so many workers, explained."""
    Path("asking.yaml").write_text(ASKING.format(workers=workers, usual_s=usual_s))
    assert cableway("apply", "asking.yaml") == 0, cableway.err
    run = cableway.json("run", "asking")["run"]
    return cableway.json("runs", "explain", run["run_id"])


def test_a_prediction_holds_once_it_is_done(asking: Command) -> None:
    """The bottleneck is named, and a run with as many workers as proposed takes as long as was predicted."""
    found, ratio = tried(asking)
    for _ in range(2):
        if abs(ratio - 1) >= 0.2:  # somebody else has kept the machine busy
            found, ratio = tried(asking)
    assert ratio == pytest.approx(1, abs=0.2)
    assert asking("runs", "explain", found["run_id"]) == 0
    assert "ask is the bottleneck: its workers are busy" in asking.out
    assert "with 4 workers in ask the run would take" in asking.out


def tried(cableway: Command) -> tuple[Any, float]:
    """The explanation of a run with two workers, and what four needed as a share of what it says of them."""
    found = ran(cableway, workers=2)
    assert found["bottleneck"] == "ask"
    assert found["findings"][1]["busy"] > 0.5
    assert found["no_more"] is None
    predicted = next(each for each in found["proposals"] if each["workers"] == 4)
    predicted_s = predicted["wall_s"] - found["start_s"]
    assert predicted_s < 0.8 * (found["wall_s"] - found["start_s"])
    after = ran(cableway, workers=4)
    return found, (after["wall_s"] - after["start_s"]) / predicted_s


def test_only_a_run_is_explained(cableway: Command) -> None:
    assert cableway("runs", "explain", str(uuid4())) == 78
    assert "no run" in cableway.err


def test_items_that_failed_are_no_failure_where_nobody_minds(asking: Command) -> None:
    Path("many.csv").write_text("a\n1\n2\n")
    Path("asking.yaml").write_text(
        ASKING.format(workers=1, usual_s=0).replace("waiting:ask", "waiting:even").replace("usual_s: 0", "")
    )
    assert asking("apply", "asking.yaml") == 0, asking.err
    assert asking("run", "--file", "asking.yaml") == 3
    assert asking("run", "--file", "asking.yaml", "--partial-ok") == 0
    assert asking.json("run", "asking", "--partial-ok")["run"]["exit_code"] == 3
    Path("many.csv").write_text("a\n1\n")
    assert asking("run", "--file", "asking.yaml", "--partial-ok") == 3


def recorded(parameters: dict[str, str]) -> str:
    with DatabaseStorage.from_settings(get_settings()) as storage:
        return record_run(storage.session, RunRequest(pipeline="tiny", texts=parameters)).run_id


def test_a_run_that_has_not_begun_is_not_explained_and_has_no_log(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    run_id = recorded({"day": "2026-01-01"})
    assert cableway("runs", "explain", run_id) == 78
    assert "is queued, and no attempt of it has left times" in cableway.err
    assert cableway("runs", "logs", run_id) == 78
    assert "its log is where its container was started" in cableway.err


def test_runs_are_listed_by_state_and_age(cableway: Command) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    run_id = recorded({"day": "2026-01-01"})
    assert [row["run_id"] for row in cableway.json("runs", "list", "--state", "queued", "--since", "1h")] == [run_id]
    assert cableway.json("runs", "list", "--state", "failed") == []
    assert cableway.json("runs", "list", "--since", "2999-01-01") == []
    assert cableway("runs", "list", "--since", "soon") == 2
    assert "'soon' is no age" in cableway.err


def test_a_waiting_run_is_cancelled_at_once_and_seen_by_who_watches(
    cableway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cableway("apply", "tiny.yaml") == 0
    run_id = recorded({"day": "2026-01-01"})

    def meanwhile(seconds: float) -> None:
        cancel(run_id)

    monkeypatch.setattr("cableway_handlers.cli.run_follow.time.sleep", meanwhile)
    assert cableway("runs", "watch", run_id) == 3
    lines = cableway.err.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines[:2]] == ["queued", "cancelled"]
    assert cableway.json("runs", "cancel", run_id, "--wait") == {"run_id": run_id, "state": "cancelled"}


def cancel(run_id: str) -> None:
    with DatabaseStorage.from_settings(get_settings()) as storage:
        storage.cancel_run(run_id, by="somebody")


def test_a_running_run_is_followed_and_drained(asking: Command) -> None:
    Path("asking.yaml").write_text(ASKING.format(workers=1, usual_s=1))
    assert asking("apply", "asking.yaml") == 0
    launcher = LocalLauncher(LAUNCHES, environment=get_environment())
    with DatabaseStorage.from_settings(get_settings()) as storage:
        run_id = storage.record_run(RunRequest(pipeline="asking")).run_id
        launcher.launch(Launch(run_id, 1))
        until(lambda: storage.get_run(run_id).run.state is RunState.RUNNING)
    assert asking("runs", "cancel", run_id, "--wait") == 0
    assert f"run {run_id} is cancelled" in asking.err
    for arguments in (["--follow"], ["--attempt", "1"]):
        assert asking("runs", "logs", run_id, *arguments) == 0
        assert '"state": "cancelled"' in asking.out
    assert asking("runs", "logs", run_id, "--attempt", "7") == 78
    assert "no attempt 7" in asking.err
    assert asking("runs", "watch", run_id) == 3


def until(holds: Callable[[], bool]) -> None:
    """Look again and again until it *holds*, half a minute at most."""
    for _ in range(600):
        if holds():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came")


DYING = """
name: dying
stages:
  - name: read
    blocs: [{{name: rows, bloc_type: csv_loader, config: {{file_path: many.csv}}}}]
  - name: die
    lane: async
    blocs:
      - name: dead
        bloc_type: python
        config:
          {{function: "tests.integration.cli.waiting:die_once", frames: arrow, arguments: {{marker: "{marker}"}}}}
settings: {{attempts: {attempts}, lease_ttl_s: 3600, backoff: {{initial_s: 3600}}}}
"""


@pytest.mark.parametrize(("attempts", "then"), [(1, "crashed"), (2, "queued")])
def test_a_run_whose_process_died_need_not_wait_for_its_lease(
    asking: Command, tmp_path: Path, attempts: int, then: str
) -> None:
    Path("dying.yaml").write_text(DYING.format(marker=tmp_path / "died", attempts=attempts))
    assert asking("apply", "dying.yaml") == 0, asking.err
    assert asking("run", "dying") == 137
    assert "died with exit code 137; its lease is over" in asking.err
    run_id = asking.json("runs", "list")[0]["run_id"]
    details = asking.json("runs", "show", run_id)
    assert details["run"]["state"] == then
    assert [(each["state"], each["exit_code"]) for each in details["attempts"]] == [("crashed", 137)]
    assert asking("run", run_id) == 0, asking.err
    details = asking.json("runs", "show", run_id)
    assert (details["run"]["state"], len(details["attempts"])) == ("succeeded", 2)
    assert asking("run", run_id) == 0
    assert "has ended before, so nothing is begun" in asking.err
