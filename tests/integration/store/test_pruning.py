"""What is let go of in time, and what is never."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from cableway.errors import UsageError
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.stored.pruning import Pruned, age_of, prune
from tests.integration.store.conftest import document

MONTH = timedelta(days=30)


@pytest.fixture
def sql(state: DatabaseSettings) -> Iterator[psycopg.Connection[Any]]:
    assert state.url is not None
    with psycopg.connect(state.url, autocommit=True, options="-c search_path=cableway") as connection:
        yield connection


@pytest.fixture
def runs(storage: DatabaseStorage, blocs: None, sql: psycopg.Connection[Any]) -> list[str]:
    """Five runs, all ended 40 days ago, each with an attempt and a span; two versions, the first one without runs."""
    storage.save_pipeline(document(description="first"))
    storage.save_pipeline(document(description="second"))
    storage.save_pipeline(document(description="third"))
    ids = [storage.record_run(RunRequest(pipeline="numbers", key=f"k{n}")).run_id for n in range(5)]
    sql.execute(
        "UPDATE runs SET state = 'succeeded', ended_at = now() - interval '40 days', lease_expires_at = NULL,"
        " has_place = false"
    )
    sql.execute("UPDATE pipeline_versions SET created_at = now() - interval '50 days'")
    sql.execute("INSERT INTO kept_attempts (run_id, attempt, state) SELECT run_id, 1, 'succeeded' FROM runs")
    return ids


def left(sql: psycopg.Connection[Any], table: str = "runs") -> int:
    row = sql.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def letter(sql: psycopg.Connection[Any], run_id: str, state: str) -> None:
    sql.execute(
        "INSERT INTO dead_letters (run_id, attempt, item_id, stage, bloc, state, error_type, message, attempts,"
        " payload_bytes) VALUES (%s, 1, 'x', 's', 'b', %s, 'E', 'm', 1, 0)",
        (run_id, state),
    )


def test_old_runs_go_with_all_that_hangs_on_them(
    storage: DatabaseStorage, runs: list[str], sql: psycopg.Connection[Any]
) -> None:
    assert prune(storage.session, MONTH, dry_run=True) == Pruned(runs=5, versions=1)
    assert left(sql) == 5
    told: list[Pruned] = []
    assert prune(storage.session, MONTH, batch=2, tell=told.append) == Pruned(runs=5, versions=1)
    assert [each.runs for each in told] == [2, 4, 5, 5]
    assert (left(sql), left(sql, "attempts"), left(sql, "pipeline_versions")) == (0, 0, 2)
    assert storage.roll_back("numbers").version == 2, "what the active version would go back to stays"


def test_open_runs_young_runs_and_other_pipelines_stay(
    storage: DatabaseStorage, runs: list[str], sql: psycopg.Connection[Any]
) -> None:
    sql.execute("UPDATE runs SET ended_at = now() WHERE run_id = %s", (runs[0],))
    sql.execute("UPDATE runs SET state = 'queued', ended_at = NULL WHERE run_id = %s", (runs[1],))
    assert prune(storage.session, MONTH, pipeline="other") == Pruned()
    assert prune(storage.session, MONTH, pipeline="numbers").runs == 3
    assert left(sql) == 2


def test_a_run_stays_while_its_line_has_open_dead_letters_unless_forced(
    storage: DatabaseStorage, runs: list[str], sql: psycopg.Connection[Any]
) -> None:
    sql.execute("UPDATE runs SET line = (SELECT line FROM runs WHERE run_id = %s) WHERE run_id = %s", runs[:2])
    letter(sql, runs[0], "open")
    letter(sql, runs[2], "resolved")
    assert prune(storage.session, MONTH, dry_run=True).runs == prune(storage.session, MONTH).runs == 3
    assert prune(storage.session, MONTH, force=True).runs == 2
    assert left(sql, "dead_letters") == 0


def test_a_run_stays_while_repetitions_of_its_webhook_are_known_by_it(
    storage: DatabaseStorage, runs: list[str], sql: psycopg.Connection[Any]
) -> None:
    for run_id, days in ((runs[0], 29), (runs[1], 31)):
        sql.execute(
            "INSERT INTO deliveries (trigger_name, key, body_hash, run_id, received_at)"
            " VALUES ('t', 'k', 'h', %s, now() - make_interval(days => %s))",
            (run_id, days),
        )
    assert prune(storage.session, timedelta(days=1)).runs == 4
    assert left(sql, "deliveries") == 1


def test_a_chain_of_replays_goes_from_its_end(
    storage: DatabaseStorage, runs: list[str], sql: psycopg.Connection[Any]
) -> None:
    for before, after in pairwise(runs):
        sql.execute("UPDATE runs SET replay_of = %s WHERE run_id = %s", (before, after))
    sql.execute("UPDATE runs SET ended_at = now() WHERE run_id = %s", (runs[2],))
    assert prune(storage.session, MONTH).runs == 2, "what the young one refers to stays"
    sql.execute("UPDATE runs SET ended_at = now() - interval '31 days' WHERE run_id = %s", (runs[2],))
    assert prune(storage.session, MONTH).runs == 3


def test_an_archived_pipeline_goes_when_its_last_run_has(
    storage: DatabaseStorage, runs: list[str], sql: psycopg.Connection[Any]
) -> None:
    storage.delete_pipeline("numbers")
    sql.execute("UPDATE pipelines SET archived_at = now() - interval '31 days'")
    sql.execute("UPDATE runs SET ended_at = now() WHERE run_id = %s", (runs[0],))
    assert prune(storage.session, MONTH) == Pruned(runs=4, versions=2)
    assert left(sql, "pipelines") == 1
    sql.execute("UPDATE runs SET ended_at = now() - interval '31 days'")
    assert prune(storage.session, MONTH) == Pruned(runs=1, versions=1)
    assert left(sql, "pipelines") == 0


def test_ticks_and_kept_deliveries_go_too(storage: DatabaseStorage, sql: psycopg.Connection[Any]) -> None:
    for days in (1, 31, 32):
        sql.execute(
            "INSERT INTO ticks (scheduler_id, tick_from, tick_to, count, scheduler_name, pipeline, reason, decided_at)"
            " VALUES (gen_random_uuid(), now(), now(), 1, 's', 'p', 'paused', now() - make_interval(days => %s))",
            (days,),
        )
        sql.execute(
            "INSERT INTO delivery_records (delivery_id, trigger_name, received_at, verdict, status, headers,"
            " body_bytes) VALUES (gen_random_uuid(), 't', now() - make_interval(days => %s), 'refused', 401, '{}', 0)",
            (days,),
        )
    assert prune(storage.session, MONTH, batch=1) == Pruned(ticks=2, deliveries=2)
    assert (left(sql, "ticks"), left(sql, "delivery_records")) == (1, 1)


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5h", "30 d", "1y", "٣d", "9999999d"])
def test_an_age_is_a_number_with_a_unit(text: str) -> None:
    with pytest.raises(UsageError, match="is no age"):
        age_of(text)
    assert age_of("2w") == timedelta(days=14)
