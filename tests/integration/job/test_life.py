"""The life of a run with real processes: cancelled, made to wait, repeated by a platform, launched by who dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from cableway.runs import RunRequest
from tests.integration.job.process import State, command, environment, job
from tests.unit.job.running import bloc, stage

NOOP = stage(bloc("numbers"))
HANGING = (stage(bloc("numbers", batch_size=1)), stage(bloc("multiply_async", hang_on=1)))
SOON_S = 30.0


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, env: dict[str, str]) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(command(*words), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(stored: State, query: str, *values: object) -> None:
    """Until the server says so; it sleeps, not we."""
    with psycopg.connect(stored.url, autocommit=True) as connection:
        for _ in range(600):
            if connection.execute(query.encode(), values).fetchone():
                return
            connection.execute("SELECT pg_sleep(0.05)")
    raise AssertionError(query)


def test_a_cancelled_run_stops_its_work_at_once(stored: State, started: Callable[..., subprocess.Popen[str]]) -> None:
    run_id = stored.record(*HANGING, lease_ttl_s=600, grace_s=0.5)
    process = started(run_id, env=environment(stored.url))
    others = "SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    wait_for(stored, f"{others} AND query LIKE '%%LISTEN cableway_cancel%%'")
    asked_at = time.monotonic()
    with stored.storage() as storage:
        assert storage.cancel_run(run_id, by="a test") == "cancelling"
    out, _ = process.communicate(timeout=SOON_S)
    assert time.monotonic() - asked_at < 20, "the next beat would be in 150 s"
    last = json.loads(out.splitlines()[-1])
    assert (process.returncode, last["state"], last["reason"]) == (3, "cancelled", "cancelled")
    run = stored.details(run_id).run
    assert (run.state, run.exit_code, (run.counts or {})["emitted"] > 0) == ("cancelled", 3, True)


@pytest.mark.promise("P7")
def test_a_run_waits_until_another_of_its_pipeline_is_through(
    stored: State, started: Callable[..., subprocess.Popen[str]]
) -> None:
    first = stored.record(*HANGING, grace_s=0.2)
    holder = started(first, env=environment(stored.url))
    wait_for(stored, "SELECT 1 FROM cableway.runs WHERE state = 'running'")
    with stored.storage() as storage:
        storage.save_pipeline({"name": "p", "stages": [NOOP]})
        second = storage.record_run(RunRequest(pipeline="p")).run_id
    waiting = started(second, env=environment(stored.url))
    assert waiting.stderr is not None
    assert "waits for a place" in waiting.stderr.readline()
    assert stored.details(second).run.state == "queued"
    with stored.storage() as storage:
        storage.cancel_run(first)
    assert holder.wait(SOON_S) == 3
    assert waiting.wait(SOON_S) == 0
    assert stored.details(second).run.state == "succeeded"


def test_what_a_platform_repeats_is_the_same_run(stored: State) -> None:
    stored.record(NOOP)
    env = environment(stored.url, AWS_BATCH_JOB_ID="876da822")
    first, again = [job("run", "p", env=env).last for _ in range(2)]
    other = job("run", "p", env={**env, "CABLEWAY_EXECUTION_ID": "mine"}).last
    assert first["run_id"] == again["run_id"] != other["run_id"]
    details = stored.details(first["run_id"])
    assert details.run.key == "execution:batch:876da822"
    assert [attempt.external_id for attempt in details.attempts] == ["batch:876da822"]


@pytest.mark.promise("P16")
def test_an_interrupted_run_with_attempts_left_waits_for_the_next(
    stored: State, started: Callable[..., subprocess.Popen[str]]
) -> None:
    run_id = stored.record(*HANGING, attempts=2, grace_s=0.2)
    process = started(run_id, env=environment(stored.url))
    wait_for(stored, "SELECT 1 FROM cableway.runs WHERE state = 'running'")
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON_S) == 143
    details = stored.details(run_id)
    assert (details.run.state, [each.state for each in details.attempts]) == ("queued", ["interrupted"])


def test_a_run_whose_overlap_policy_wants_none_is_told_so(stored: State) -> None:
    stored.record(NOOP, overlap="skip")
    ended = job("run", "p", env=environment(stored.url))
    assert ended.code == 0
    assert "'p' has as many runs open as it may have" in ended.err
    assert (ended.last["state"], ended.last["reason"], ended.last["run_id"]) == ("cancelled", "overlap", None)


def test_a_stage_takes_its_turn_with_a_limit(stored: State) -> None:
    limited = {**stage(bloc("multiply")), "limits": ["crm"]}
    run_id = stored.record(stage(bloc("numbers", batch_size=1)), limited)
    missing = stored.run(run_id)
    assert missing.code == 78
    assert "there is no limit 'crm'" in missing.err
    with stored.storage() as storage:
        storage.set_limit("crm", concurrency=1, rate=1000)
        run_id = storage.record_run(RunRequest(pipeline="p")).run_id
    ended = stored.run(run_id)
    assert (ended.code, ended.last["state"]) == (0, "succeeded")
    with stored.storage() as storage:
        assert storage.list_limits()[0].slots_taken == 0


SWEEP_AND_DIE = """
import os, signal, sys
from pathlib import Path
from cableway.settings import DatabaseSettings
from cableway_handlers.launch import LocalLauncher, Sweep
launcher = LocalLauncher(Path(sys.argv[2]), environment=os.environ)
print(Sweep(DatabaseSettings(url=sys.argv[1]), launcher).once().launched, flush=True)
if sys.argv[3] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.promise("P4")
@pytest.mark.fault("H10")
def test_a_job_outlives_the_sweep_that_launched_it_and_is_not_doubled(stored: State, tmp_path: Path) -> None:
    run_id = stored.record(*HANGING, grace_s=0.2)

    def sweep(then: str) -> str:
        arguments = [sys.executable, "-c", SWEEP_AND_DIE, stored.url, str(tmp_path), then]
        done = subprocess.run(arguments, env=environment(stored.url), capture_output=True, text=True, check=False)
        assert done.returncode == (-signal.SIGKILL if then == "die" else 0), done.stderr
        return done.stdout.strip()

    assert sweep("die") == "1"
    wait_for(stored, "SELECT 1 FROM cableway.runs WHERE state = 'running'")
    assert sweep("live") == "0"
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 1
    os.kill(pids[0], 0)
    with stored.storage() as storage:
        storage.cancel_run(run_id)
    wait_for(stored, "SELECT 1 FROM cableway.runs WHERE state = 'cancelled'")
    assert len(stored.details(run_id).attempts) == 1
