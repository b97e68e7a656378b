"""A job that is told to end ends in time, says so, and leaves batches whole or absent."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cableway.catalog import Catalog
from cableway.runs import RunRequest
from cableway.storage import DatabaseStorage
from tests.integration.faults.process import BLOCS, Processes, ended, last_line, query, runs, until
from tests.integration.job.process import State
from tests.unit.job.running import bloc, stage

SLACK_S = 4.0
"""What a job may take beyond its grace on a busy machine; two seconds are promised on one that is not."""


def record(stored: State, *stages: Any, **settings: Any) -> str:
    with DatabaseStorage(stored.settings, catalog=Catalog(tuple(BLOCS.split(",")))) as storage:
        storage.save_pipeline({"name": "p", "stages": list(stages), "settings": settings})
        return storage.record_run(RunRequest(pipeline="p")).run_id


def rows_and_export(stored: State, tmp_path: Path, if_exists: str) -> str:
    (tmp_path / "rows.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(100)))
    load = bloc("csv_loader", "rows", file_path=str(tmp_path / "rows.csv"), batch_size=10)
    return record(stored, stage(load), stage(bloc("postgres_exporter", table_name="t", if_exists=if_exists)))


@pytest.mark.promise("P16")
@pytest.mark.fault("B1")
@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_during_copy_a_batch_is_whole_or_absent(
    stored: State, processes: Processes, tmp_path: Path, if_exists: str
) -> None:
    run_id = rows_and_export(stored, tmp_path, if_exists)
    process = processes.at(run_id, stored.url, "rows_written:term:3" if if_exists == "append" else "rows_written:term")
    last = last_line(process)
    # A replacement that was complete already is kept.
    assert (last["state"], process.returncode) in {("interrupted", 143), ("succeeded", 0)}
    there = query(stored.url, "SELECT to_regclass('public.t') IS NOT NULL")[0][0]
    rows = len(query(stored.url, "SELECT id FROM t")) if there else 0
    if if_exists == "append":
        assert (rows % 10, rows < 100) == (0, True)
    else:
        assert rows == (100 if last["state"] == "succeeded" else 0)
    assert runs(stored, f"state = '{last['state']}' AND exit_code = {process.returncode}")


@pytest.mark.promise("P16")
@pytest.mark.fault("B1")
@pytest.mark.parametrize("place", [pytest.param("before_commit", marks=pytest.mark.chaos), "before_finish"])
def test_during_the_final_write_it_is_kept_or_given_up_as_a_whole(
    stored: State, processes: Processes, tmp_path: Path, place: str
) -> None:
    process = processes.at(rows_and_export(stored, tmp_path, "replace"), stored.url, f"{place}:term")
    last = last_line(process)
    assert (last["state"], process.returncode) in {("succeeded", 0), ("interrupted", 143)}
    there = query(stored.url, "SELECT to_regclass('public.t') IS NOT NULL")[0][0]
    rows = len(query(stored.url, "SELECT id FROM t")) if there else 0
    assert rows == (100 if last["state"] == "succeeded" else 0)
    assert runs(stored, f"state = '{last['state']}' AND exit_code = {process.returncode}")


@pytest.mark.promise("P16")
@pytest.mark.fault("B1")
@pytest.mark.parametrize("module", ["psycopg", "tests.unit.job.blocs"])
def test_during_an_import(stored: State, processes: Processes, tmp_path: Path, module: str) -> None:
    """Of our own modules there is no run yet, and it is left alone; the blocs are imported when it is claimed."""
    run_id = record(stored, stage(bloc("numbers")))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    path = f"{tmp_path}:{Path(__file__).parents[3]}"
    done = ended(processes.start(run_id, stored.url, PYTHONPATH=path))
    assert (done.code, "Traceback" in done.err) == (143, False)
    assert runs(stored, "state = 'queued'" if module == "psycopg" else "state = 'interrupted'")


@pytest.mark.promise("P16")
@pytest.mark.fault("B1")
def test_before_the_answer_to_the_claim_has_been_looked_at(stored: State, processes: Processes) -> None:
    process = processes.at(record(stored, stage(bloc("numbers"))), stored.url, "claimed:term")
    last = last_line(process)
    assert (last["state"], process.returncode) == ("interrupted", 143)
    assert runs(stored, "state = 'interrupted' AND exit_code = 143")


@pytest.mark.fault("B1")
def test_while_it_waits_for_another_attempt(stored: State, processes: Processes) -> None:
    run_id = record(stored, stage(bloc("numbers")))
    query(
        stored.url,
        "UPDATE cableway.runs SET state = 'running', attempt = 1, lease_token = 1,"
        " begun_at = now(), lease_expires_at = clock_timestamp() + interval '1 hour'",
    )
    process = processes.start(run_id, stored.url)
    assert process.stderr is not None
    assert "waiting" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    assert (done.code, done.out, done.err) == (143, "", "")


@pytest.mark.fault("B2")
def test_the_second_signal_ends_it_at_once(stored: State, processes: Processes, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    run_id = record(stored, stage(bloc("numbers", batch_size=1)), stage(bloc("hang", begun=str(begun))), grace_s=100)
    process = processes.start(run_id, stored.url)
    until(begun.exists)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # as the catalogue has it
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    done = ended(process)
    assert time.monotonic() - began < SLACK_S
    assert (done.code, done.err) == (143, "")


LANES = [
    ("hang", "thread"),
    ("hang", "process"),
    *([("python", "interpreter")] if sys.version_info >= (3, 14) else []),
    ("hang_on_loop", "async"),
    ("hold_loop", "async"),
    ("hang_closing", "thread"),
]


@pytest.mark.promise("P16")
@pytest.mark.fault("B3")
@pytest.mark.parametrize(("kind", "lane"), LANES)
def test_a_handler_that_hangs_holds_nobody_up(
    stored: State, processes: Processes, tmp_path: Path, kind: str, lane: str
) -> None:
    begun, grace_s = tmp_path / "begun", 0.5
    config = {
        "hang_closing": {},
        "python": {"function": "tests.integration.faults.hanging:hang", "arguments": {"begun": str(begun)}},
    }
    hanging = bloc(kind, lane=lane, **config.get(kind, {"begun": str(begun)}))
    last = [stage(bloc("hang_on_loop", begun=str(begun)))] if kind == "hang_closing" else []
    run_id = record(stored, stage(bloc("numbers", batch_size=1)), stage(hanging), *last, grace_s=grace_s)
    process = processes.start(run_id, stored.url)
    until(begun.exists)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    last_ = last_line(process)
    assert time.monotonic() - began < grace_s + 2 * SLACK_S
    assert (process.returncode, last_["state"], last_["reason"]) == (143, "interrupted", "interrupted")
    assert runs(stored, "state = 'interrupted' AND exit_code = 143")


@pytest.mark.fault("B13")
def test_sighup_is_as_sigterm_sigusr1_dumps_stacks_and_sigpipe_is_ignored(
    stored: State, processes: Processes, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    run_id = record(stored, stage(bloc("numbers", batch_size=1)), stage(bloc("hang", begun=str(begun))), grace_s=0.3)
    process = processes.start(run_id, stored.url)
    until(begun.exists)
    process.send_signal(signal.SIGPIPE)
    process.send_signal(signal.SIGUSR1)
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert any("in transform" in line for line in said)
    process.send_signal(signal.SIGHUP)
    assert last_line(process)["state"] == "interrupted"
    assert process.returncode == 143
