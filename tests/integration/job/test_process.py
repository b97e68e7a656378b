"""`python -m cableway` against a real Postgres: what it leaves in the run's rows, and what it exits with."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from tests.integration.job.process import TRACE_ID, State, command, environment, job
from tests.unit.job.running import bloc, stage

NOOP = stage(bloc("pass_through"))


def test_a_run_leaves_its_record(stored: State) -> None:
    run_id = stored.record(
        stage(bloc("numbers", count=4, batch_size=1)), stage(bloc("multiply", fail_on=[2])), max_errors=1
    )
    ended = stored.run(run_id)
    assert (ended.code, ended.err) == (0, "")
    details = stored.details(run_id)
    run = details.run
    assert (run.state, run.exit_code, run.attempt, run.trace_id) == ("completed_with_errors", 0, 1, TRACE_ID)
    assert run.counts == {"emitted": 5, "succeeded": 4, "failed": 1, "skipped": 0, "cancelled": 0, "lost": 0}
    assert (run.rows_in, run.rows_out, run.error) == (4, 0, None)
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.created_at <= run.started_at <= run.ended_at
    (attempt,) = details.attempts
    assert (attempt.state, attempt.exit_code, attempt.trace_id) == ("completed_with_errors", 0, TRACE_ID)
    by_stage = {record.stage: record for record in details.stages if record.bloc is None}
    assert [(record.items, record.rows, record.failed) for record in by_stage.values()] == [(1, 4, 0), (4, 3, 1)]
    assert all(record.work_s > 0 for record in by_stage.values())
    (letter,) = stored.letters(run_id)
    assert (letter.item_id, letter.error_type, letter.payload) == ("n2", "ValueError", {"numbers": 2})
    spans = stored.spans(run_id)
    root = next(span for span in spans if span.name == "run p")
    assert (root.trace_id, root.parent_span_id) == (TRACE_ID, "00f067aa0ba902b7")
    failed = next(span for span in spans if span.attributes.get("cableway.item.id") == "n2")
    assert letter.trace_id == TRACE_ID
    assert letter.span_id in {span.span_id for span in spans}
    assert failed.trace_id == TRACE_ID
    assert ended.last == {
        "event": "run.finished",
        "run_id": run_id,
        "attempt": 1,
        "state": "completed_with_errors",
        "exit_code": 0,
        "reason": None,
        "counts": run.counts,
        "rows": {"in": 4, "out": 0},
        "spans_dropped": 0,
        "trace_id": TRACE_ID,
        "error": None,
    }


def test_a_run_that_has_ended_is_not_run_again(stored: State) -> None:
    run_id = stored.record(NOOP)
    assert stored.run(run_id).code == 0
    again = stored.run(run_id)
    assert (again.code, again.last["state"]) == (0, "succeeded")
    assert len(stored.details(run_id).attempts) == 1
    assert "nothing to do, it has ended" in again.err


def test_a_run_that_another_attempt_holds_is_waited_for_one_lease_and_left_alone(stored: State) -> None:
    run_id = stored.record(stage(bloc("multiply_async", hang_on=None), bloc("keep", hang_open=True)), lease_ttl_s=4)
    first = subprocess.Popen(
        command(run_id), env=environment(stored.url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(stored, "SELECT 1 FROM cableway.runs WHERE state = 'running'")
        second = stored.run(run_id)
        assert (second.code, second.last["state"], second.last["attempt"]) == (0, "running", 0)
        assert "is held by another attempt; waiting" in second.err
        assert len(stored.details(run_id).attempts) == 1
    finally:
        first.kill()
        first.wait()


def test_a_run_whose_attempt_died_is_taken_up_once_its_lease_has_run_out(stored: State) -> None:
    run_id = stored.record(NOOP, lease_ttl_s=2)
    with psycopg.connect(stored.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE cableway.runs SET state = 'running', attempt = 1, lease_token = 1, has_place = true,"
            " begun_at = now(), lease_expires_at = clock_timestamp() + interval '1 second'"
        )
    ended = stored.run(run_id)
    assert (ended.code, ended.last["state"], ended.last["attempt"]) == (0, "succeeded", 2)


def test_a_pipeline_by_name_is_recorded_first_and_a_key_makes_it_the_same_run(stored: State) -> None:
    stored.record(stage(bloc("numbers", count="${param:many}")), parameters={"many": {"type": "integer", "default": 1}})
    env = environment(stored.url)
    one = job("run", "p", "-p", "many=3", "--key", "k", env=env)
    two = job("run", "p", "-p", "many=3", "--key", "k", env=env)
    assert (one.code, one.last["rows"]["in"]) == (0, 3)
    assert (two.code, two.last["run_id"], two.last["attempt"]) == (0, one.last["run_id"], 0)


def test_a_file_runs_with_no_database(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "name: p\n"
        "parameters: {many: {type: integer, default: 1}}\n"
        "stages:\n"
        "  - name: load\n"
        "    blocs: [{name: n, bloc_type: numbers, config: {count: '${param:many}'}}]\n"
    )
    ended = job("run", "--file", "p.yaml", "-p", "many=3", env=environment(None), cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert (ended.last["state"], ended.last["rows"]["in"]) == ("succeeded", 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_is_recorded(stored: State, number: signal.Signals) -> None:
    run_id = stored.record(stage(bloc("numbers", batch_size=1)), stage(bloc("multiply", hang_on=1)), grace_s=0.5)
    process = subprocess.Popen(
        command(run_id), env=environment(stored.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for(stored, "SELECT 1 FROM cableway.runs WHERE state = 'running'")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143, err
    run = stored.details(run_id).run
    assert (run.state, run.exit_code) == ("interrupted", 143)
    assert '"reason": "interrupted"' in out
    assert err == "cableway: the run was stopped by a signal\n"


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_nobody_has_to_read_what_it_says(stored: State, closed: str) -> None:
    run_id = stored.record(stage(bloc("numbers", batch_size=1)), stage(bloc("multiply", fail_on=[0])))
    redirect = "1>&-" if closed == "stdout" else "2>&-"
    line = f'exec "$0" "$@" {redirect}'
    done = subprocess.run(
        ["/bin/sh", "-c", line, *command(run_id)],
        env=environment(stored.url),
        timeout=30,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert stored.details(run_id).run.state == "failed"


def test_a_reader_that_goes_away_does_not_change_the_exit_code(stored: State) -> None:
    run_id = stored.record(NOOP)
    process = subprocess.Popen(
        command(run_id), env=environment(stored.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.wait(30)
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.returncode, said) == (0, b"")


def _wait_for(stored: State, query: LiteralString) -> None:
    """Until the server says so; it sleeps, not we."""
    with psycopg.connect(stored.url, autocommit=True) as connection:
        for _ in range(400):
            if connection.execute(query).fetchone():
                return
            connection.execute("SELECT pg_sleep(0.05)")
    raise AssertionError(query)
