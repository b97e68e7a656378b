"""The state database is away at the start, in the middle or at the end of a run, or takes no writes for a while."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from cableway.settings import DatabaseSettings
from cableway.store.connect import connection_parameters
from cableway_handlers.launch import LocalLauncher, Sweep
from tests.fixtures.proxy import FaultProxy
from tests.integration.faults.process import Processes, ended, is_stopped, last_line, query, runs, until
from tests.integration.faults.test_signals import record
from tests.integration.job.process import State
from tests.unit.job.running import bloc, stage


def through(stored: State, proxy: FaultProxy, **options: object) -> str:
    """The state database as seen through *proxy*."""
    return proxy.conninfo(str(conninfo_to_dict(stored.url)["dbname"]), connect_timeout=2, **options)


def ticking(stored: State, tmp_path: Path, **settings: Any) -> str:
    """A run that goes on until the file ``go`` is there."""
    slow = bloc("wait_for_file", path=str(tmp_path / "go"))
    return record(stored, stage(bloc("numbers", batch_size=1)), stage(slow), **settings)


@pytest.mark.promise("P19")
@pytest.mark.fault("C4")
@pytest.mark.parametrize("how", [pytest.param("cut", marks=pytest.mark.chaos), "blackhole"])
def test_a_short_cut_in_the_middle_is_survived(
    stored: State, processes: Processes, proxy: FaultProxy, tmp_path: Path, how: str
) -> None:
    run_id = ticking(stored, tmp_path, lease_ttl_s=8)
    process = processes.start(run_id, through(stored, proxy, tcp_user_timeout=500))
    beats = "lease_expires_at > clock_timestamp() + interval '7 seconds'"
    until(lambda: runs(stored, f"state = 'running' AND clock_timestamp() > started_at + interval '1 s' AND {beats}"))
    getattr(proxy, how)()
    until(lambda: not runs(stored, "lease_expires_at > clock_timestamp() + interval '5500 milliseconds'"))
    proxy.mend()
    until(lambda: runs(stored, beats), "no beat came through again")
    (tmp_path / "go").touch()
    assert (last_line(process)["state"], process.returncode) == ("succeeded", 0)
    assert query(stored.url, "SELECT attempt FROM cableway.runs") == [(1,)]


@pytest.mark.promise("P17")
@pytest.mark.promise("P19")
@pytest.mark.fault("C4")
@pytest.mark.fault("C6")
def test_a_long_one_has_it_fence_itself_and_another_attempt_takes_over(
    stored: State, processes: Processes, proxy: FaultProxy, tmp_path: Path
) -> None:
    run_id = ticking(stored, tmp_path, lease_ttl_s=3, grace_s=1)
    process = processes.start(run_id, through(stored, proxy))
    until(lambda: runs(stored, "state = 'running' AND clock_timestamp() > started_at + interval '1 s'"))
    proxy.blackhole()
    last = last_line(process)
    assert (process.returncode, last["reason"]) == (75, "lease_lost")
    assert runs(stored, "state = 'running' AND exit_code IS NULL")
    (tmp_path / "go").touch()
    second = processes.start(run_id, stored.url)
    assert (last_line(second)["attempt"], second.returncode) == (2, 0)
    assert query(stored.url, "SELECT state, attempt FROM cableway.runs") == [("succeeded", 2)]


@pytest.mark.promise("P19")
@pytest.mark.parametrize("how", [pytest.param("cut", marks=pytest.mark.chaos), "blackhole"])
def test_an_outcome_that_cannot_be_recorded_is_left_on_stdout_and_in_the_termination_log(
    stored: State, processes: Processes, proxy: FaultProxy, tmp_path: Path, how: str
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    run_id = record(stored, stage(bloc("numbers")), grace_s=1, lease_ttl_s=4)
    variables = {"CABLEWAY_TERMINATION_LOG": str(log), "DATABASE_CONNECT_BUDGET_S": "20"}
    process = processes.at(run_id, through(stored, proxy), "before_finish:stop", **variables)
    until(lambda: is_stopped(process.pid))
    getattr(proxy, how)()
    process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    last = last_line(process)
    assert time.monotonic() - began < 8
    assert (last["state"], last["exit_code"], process.returncode) == ("succeeded", 75, 75)
    assert last["reason"] == "not_recorded"
    text = log.read_text()
    assert last["run_id"] in text
    assert len(text) < 4096
    assert runs(stored, "state = 'running'")
    until(lambda: runs(stored, "lease_expires_at < clock_timestamp()"))
    sweep(stored)
    assert query(stored.url, "SELECT state FROM cableway.runs") == [("crashed",)]


def sweep(stored: State) -> None:
    with closing(Sweep(DatabaseSettings(url=stored.url), LocalLauncher(Path(os.devnull), environment={}))) as swept:
        swept.once()


@pytest.mark.promise("P17")
@pytest.mark.fault("B12")
@pytest.mark.parametrize("place", ["before_commit", pytest.param("before_finish", marks=pytest.mark.chaos)])
def test_an_attempt_that_was_frozen_writes_nothing_when_it_wakes_up(
    stored: State, processes: Processes, tmp_path: Path, place: str
) -> None:
    (tmp_path / "rows.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(40)))
    load = bloc("csv_loader", "rows", file_path=str(tmp_path / "rows.csv"), batch_size=10)
    export = stage(bloc("postgres_exporter", table_name="t", if_exists="append"))
    run_id = record(stored, stage(load), export, lease_ttl_s=1)
    first = processes.at(run_id, stored.url, f"{place}:stop")
    until(lambda: is_stopped(first.pid))
    second = processes.start(run_id, stored.url)
    assert (last_line(second)["attempt"], second.returncode) == (2, 0)
    before = query(stored.url, "SELECT state, attempt, counts, ended_at FROM cableway.runs")
    first.send_signal(signal.SIGCONT)
    assert ended(first).code == 75
    assert query(stored.url, "SELECT state, attempt, counts, ended_at FROM cableway.runs") == before
    assert sorted(query(stored.url, "SELECT id FROM t")) == [(number,) for number in range(40)]


@pytest.mark.fault("C6")
def test_a_peer_that_has_silently_gone_is_noticed_within_half_a_minute(stored: State) -> None:
    given = connection_parameters(stored.settings)
    idle, every, count = (int(given[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + every * count <= 30
    assert int(given["tcp_user_timeout"]) <= 30_000


@pytest.mark.promise("P19")
@pytest.mark.fault("C13")
def test_a_server_that_only_reads_for_a_while_is_waited_for(stored: State, processes: Processes) -> None:
    run_id = record(stored, stage(bloc("numbers")))
    name = conninfo_to_dict(stored.url)["dbname"]
    process = processes.at(run_id, stored.url, "before_finish:stop")
    until(lambda: is_stopped(process.pid))
    query(stored.url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'cableway'"
    query(stored.url, others)
    process.send_signal(signal.SIGCONT)
    until(lambda: query(stored.url, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cableway'"))
    # Whoever connects now writes again, and those that only read are cut off, as at a failover.
    writing = f"{stored.url}&options=-c%20default_transaction_read_only%3Doff"
    query(writing, f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert (last_line(process)["state"], process.returncode) == ("succeeded", 0)


@pytest.mark.promise("P19")
@pytest.mark.fault("C14")
def test_a_server_whose_disk_is_full_for_a_while_is_waited_for(stored: State, processes: Processes) -> None:
    run_id = record(stored, stage(bloc("numbers")))
    query(
        stored.url,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON cableway.run_stages EXECUTE FUNCTION full_disk()",
    )
    process = processes.start(run_id, stored.url, LOG_LEVEL="DEBUG")
    until(
        lambda: query(
            stored.url, "SELECT 1 FROM pg_stat_database WHERE datname = current_database() AND xact_rollback > 0"
        )
    )
    assert process.poll() is None
    query(stored.url, "DROP TRIGGER full_disk ON cableway.run_stages")
    assert (last_line(process)["state"], process.returncode) == ("succeeded", 0)
