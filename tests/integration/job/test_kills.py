"""A run that is killed anywhere and taken up again leaves, in two databases, the rows of one clean run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from cableway.catalog import Catalog
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests.fixtures.postgres import Postgres
from tests.integration.job.process import environment, job

BLOCS = "tests.integration.job.line_blocs"
KILLED = -9
PLACES = ("key_written", "rows_written", "before_commit", "after_commit")
ROWS = 90
BATCH = 8
REFUSED = 24
"""The first id of the item that fails."""


@dataclass
class World:
    """A state database that holds one target as well, another database for the other, and a file to be read."""

    settings: DatabaseSettings
    other: str
    file: Path

    @property
    def here(self) -> str:
        assert self.settings.url is not None
        return self.settings.url

    def record(self, *stages: dict[str, Any], **settings: Any) -> str:
        """Store a pipeline that reads the file, and record a run of it."""
        load = {"file_path": str(self.file), "batch_size": BATCH}
        first = {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": load}]}
        document = {
            "name": "p",
            "stages": [first, *stages],
            "settings": {"attempts": 100, "lease_ttl_s": 60, **settings},
            "secrets": ["OTHER"],
        }
        with DatabaseStorage(self.settings, catalog=Catalog((BLOCS,))) as storage:
            storage.save_pipeline(document)
            return storage.record_run(RunRequest(pipeline="p")).run_id

    def attempt(self, run_id: str, failpoint: str = "") -> int:
        """One attempt's exit code. A killed one leaves a lease, which is over at once."""
        variables = {"CABLEWAY_BLOCS": BLOCS, "OTHER": self.other, "CABLEWAY_CHECKPOINT_S": "0.02"}
        if failpoint:
            variables |= {"CABLEWAY_FAILPOINT": failpoint, "CABLEWAY_TESTING": "1"}
        ended = job(run_id, env=environment(self.here, **variables))
        if ended.code == KILLED:
            query(self.here, "UPDATE cableway.runs SET lease_expires_at = clock_timestamp() WHERE state = 'running'")
        else:
            assert ended.code in {0, 3, 143}, ended.err
        return ended.code

    def to_the_end(self, run_id: str, kills: int, chance: random.Random, *, passings: int) -> tuple[int, int]:
        """Kill up to *kills* attempts, each at one of its first *passings* of a failpoint, and let one end.

        Gives its exit code, and how many were killed.
        """
        for killed in range(kills):
            place = chance.choice(["*", "*", "*", *PLACES])
            passing = chance.randint(1, passings) if place == "*" else 1
            if (code := self.attempt(run_id, f"{place}:kill:{passing}")) != KILLED:
                return code, killed
        return self.attempt(run_id), kills


def query(conninfo: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(conninfo, autocommit=True, row_factory=tuple_row)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def world(state: DatabaseSettings, postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    other = postgres.create_database()
    file = tmp_path / "rows.csv"
    # Each key comes twice, so that the later row has to win.
    lines = [f"{number},{number % (ROWS // 2)},{number * 7}" for number in range(ROWS)]
    file.write_text("\n".join(["id,key,value", *lines]) + "\n")
    yield World(state, postgres.conninfo(other), file)
    postgres.drop_database(other)


def appended(name: str, table: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "bloc_type": "postgres_exporter", "config": {"table_name": table, **config}}


def written(source: str) -> list[dict[str, Any]]:
    """An exporter that appends here, and one that upserts there."""
    append = appended("here", "appended", if_exists="append", source_bloc=source)
    there = {"dsn": "${secret:OTHER}", "source_bloc": source, "key": ["key"]}
    return [append, appended("there", "upserted", if_exists="upsert", **there)]


def assert_rows_of_one_clean_run(world: World, lost: range = range(0)) -> None:
    ids = query(world.here, "SELECT id FROM public.appended")
    assert Counter(ids) == Counter((number,) for number in range(ROWS) if number not in lost)
    latest = {number % (ROWS // 2): number for number in range(ROWS) if number not in lost}
    assert sorted(query(world.other, "SELECT key, id FROM public.upserted")) == sorted(latest.items())


def with_everything() -> list[dict[str, Any]]:
    """A fan-out, a batch, a gather, and three exporters."""
    split = {"name": "piece", "bloc_type": "split_rows", "config": {"rows": 3}}
    sums = {"name": "sums", "bloc_type": "sum_rows", "inputs": ["piece"]}
    total = appended("totals", "totals", if_exists="append", source_bloc="sums")
    return [
        {"name": "split", "blocs": [split], "workers": 3},
        {"name": "write", "blocs": written("piece"), "batch": {"count": 4}},
        {"name": "sum", "blocs": [sums], "gather": True},
        {"name": "tell", "blocs": [total]},
    ]


def kill_with_everything(world: World, kills: int, seed: int, *, passings: int = 60) -> int:
    run_id = world.record(*with_everything())
    code, killed = world.to_the_end(run_id, kills, random.Random(seed), passings=passings)
    assert code == 0
    assert_rows_of_one_clean_run(world)
    assert query(world.here, "SELECT rows, total FROM public.totals") == [(ROWS, sum(range(ROWS)))]
    return killed


def kill_with_a_cursor(world: World, kills: int, seed: int, *, passings: int = 40) -> int:
    check: dict[str, Any] = {"name": "good", "bloc_type": "checked_rows", "config": {"refuse": REFUSED}}
    stages: list[dict[str, Any]] = [
        {"name": "check", "blocs": [check], "workers": 3},
        {"name": "write", "blocs": written("good"), "batch": {"count": 3}},
    ]
    run_id = world.record(*stages, max_errors=1)
    code, killed = world.to_the_end(run_id, kills, random.Random(seed), passings=passings)
    assert code == 0
    assert_rows_of_one_clean_run(world, range(REFUSED, REFUSED + BATCH))
    letters = query(world.here, "SELECT stage, bloc, error_type FROM cableway.dead_letters")
    assert letters == [("check", "good", "ValueError")]
    return killed


@pytest.mark.timeout(180)
@pytest.mark.promise("P17")
@pytest.mark.promise("P11")
@pytest.mark.fault("B4")
@pytest.mark.parametrize("seed", [1])
def test_killed_at_five_places_on_the_way_through_everything(world: World, seed: int) -> None:
    assert kill_with_everything(world, 5, seed, passings=20) == 5


@pytest.mark.timeout(180)
@pytest.mark.promise("P17")
@pytest.mark.promise("P11")
@pytest.mark.fault("B4")
@pytest.mark.parametrize("seed", [2])
def test_killed_at_five_places_with_a_cursor(world: World, seed: int) -> None:
    assert kill_with_a_cursor(world, 5, seed, passings=10) == 5


@pytest.mark.promise("P17")
@pytest.mark.fault("B1")
@pytest.mark.chaos
@pytest.mark.parametrize("place", ["rows_written:term:2", "item_read:term:5"])
def test_a_drained_attempt_is_gone_on_with(world: World, place: str) -> None:
    run_id = world.record({"name": "write", "blocs": written("rows")})
    assert world.attempt(run_id, place) == 143
    ((cursor, state),) = query(
        world.here, "SELECT position, state FROM cableway.cursors JOIN cableway.runs USING (line)"
    )
    assert cursor["position"].startswith("0:")
    assert state in {"interrupted", "queued"}
    assert world.attempt(run_id) == 0
    assert_rows_of_one_clean_run(world)
    ((came, gone),) = query(world.here, "SELECT rows_in, rows_out FROM cableway.runs")
    assert came >= ROWS  # what was read and not worked off came again
    assert gone == 2 * ROWS


@pytest.mark.timeout(180)
@pytest.mark.promise("P17")
@pytest.mark.parametrize("if_exists", ["append", pytest.param("upsert", marks=pytest.mark.chaos)])
def test_a_cursor_goes_on_from_run_to_run_though_they_die(world: World, if_exists: str) -> None:
    """The source cannot be read again as it was, so each lap is one transaction, whose end row holds the cursor."""
    query(world.here, "CREATE TABLE public.source (id int, at int); INSERT INTO public.source VALUES (1, 10), (2, 20)")
    config = {"query": "SELECT id, at FROM public.source", "batch_size": 1, "incremental": {"cursor_field": "at"}}
    load = {"name": "load", "blocs": [{"name": "rows", "bloc_type": "postgres_loader", "config": config}]}
    key = {"key": ["id"]} if if_exists == "upsert" else {}
    store = {"name": "store", "blocs": [appended("out", "target", if_exists=if_exists, source_bloc="rows", **key)]}
    document = {"name": "grows", "stages": [load, store], "settings": {"attempts": 9, "lease_ttl_s": 60}}
    with DatabaseStorage(world.settings, catalog=Catalog((BLOCS,))) as storage:
        storage.save_pipeline(document)
        first = storage.record_run(RunRequest(pipeline="grows")).run_id
        assert world.attempt(first, "before_commit:kill") == KILLED
        assert world.attempt(first) == 0
        query(world.here, "INSERT INTO public.source VALUES (3, 20), (4, 30)")
        second = storage.record_run(RunRequest(pipeline="grows")).run_id
        assert world.attempt(second, "after_commit:kill") == KILLED
        assert world.attempt(second) == 0
        (line,) = storage.list_lines("grows")
    assert sorted(query(world.here, "SELECT id, at FROM public.target")) == [(1, 10), (2, 20), (3, 20), (4, 30)]
    assert (line.last, line.lap, line.complete) == (30, 1, True)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.promise("P17")
@pytest.mark.fault("B4")
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_at_two_hundred_places(world: World, seed: int) -> None:
    if seed % 2:
        kill_with_everything(world, 10, seed)
    else:
        kill_with_a_cursor(world, 10, seed)
