"""What failed, put right and replayed, leaves in the table what one clean run would have left."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from cableway.catalog import Catalog
from cableway.errors import ReplayError, UnknownRunError
from cableway.job import run_opened
from cableway.replays import LetterWish
from cableway.running.opening import JobRequest, open_run
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings, read_settings
from cableway.storage import DatabaseStorage
from cableway.store.port import RunState
from tests.integration.job.process import environment, job

BLOCS = "tests.integration.job.line_blocs,tests.integration.job.replay_blocs"
ROWS = 40
BATCH = 5
BAD = (7, 8, 23)
"""Ids of rows that the table refuses."""


class World:
    """A state database, a table in it that refuses some rows, and a file to be read."""

    def __init__(self, settings: DatabaseSettings, folder: Path) -> None:
        assert settings.url is not None
        self.url = settings.url
        self.settings = settings
        self.file = folder / "rows.csv"
        self.loader: dict[str, Any] = {}
        lines = [f"{number},2020-01-{number % 28 + 1:02d},{number}.50" for number in range(ROWS)]
        self.file.write_text("\n".join(["id,day,price", *lines]) + "\n")
        self.storage = DatabaseStorage(settings, catalog=Catalog(BLOCS.split(",")))
        bad = ",".join(map(str, BAD))
        self.query(
            "CREATE TABLE out (id bigint PRIMARY KEY, day date, price numeric,"
            f" CONSTRAINT good CHECK (id NOT IN ({bad})))"
        )

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True, row_factory=tuple_row) as connection:
            cursor = connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def record(self, *stages: Mapping[str, Any], **settings: Any) -> str:
        """Store a pipeline that reads the file, and record a run of it."""
        types = {"day": "date", "price": "decimal(10,2)"}
        load = {"file_path": str(self.file), "batch_size": BATCH, "types": types, **self.loader}
        first = {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": load}]}
        self.storage.save_pipeline({"name": "p", "stages": [first, *stages], "settings": settings})
        return self.storage.record_run(RunRequest(pipeline="p")).run_id

    def run(self, run_id: str, **variables: str) -> RunState:
        known = {"DATABASE_URL": self.url, "CABLEWAY_BLOCS": BLOCS, **variables}
        settings = read_settings(known)
        opened = open_run(JobRequest(run_id=run_id), settings)
        try:
            run_opened(opened, settings, known, tell=lambda _: None, wait=lambda _: None)
        finally:
            opened.store.close()
        return self.storage.get_run(run_id).run.state

    def put_right(self) -> None:
        self.query("ALTER TABLE out DROP CONSTRAINT good")

    def letters(self) -> list[tuple[Any, ...]]:
        return self.query(
            "SELECT stage, bloc, state, count(*)::int FROM cableway.dead_letters GROUP BY 1, 2, 3 ORDER BY 3"
        )

    def ids(self) -> list[int]:
        return [row[0] for row in self.query("SELECT id FROM out ORDER BY id")]


@pytest.fixture
def world(state: DatabaseSettings, tmp_path: Path) -> Any:
    made = World(state, tmp_path)
    yield made
    made.storage.close()


def store(if_exists: str, **more: Any) -> dict[str, Any]:
    config = {"table_name": "out", "if_exists": if_exists, **({} if if_exists == "append" else {"key": ["id"]})}
    return {"name": "store", "blocs": [{"name": "out", "bloc_type": "postgres_exporter", "config": config}], **more}


POSTGRES = {"bloc_type": "postgres_exporter"}
SPLIT = {"name": "split", "blocs": [{"name": "split", "bloc_type": "split_rows", "config": {"rows": 2}}]}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("if_exists", ["append", "upsert", "replace"])
def test_a_replay_leaves_what_a_clean_run_would_have_left(world: World, if_exists: str, batched: bool) -> None:
    if if_exists == "replace":
        world.query(
            "DROP TABLE out; CREATE TABLE out (id bigint PRIMARY KEY, day date, price numeric,"
            " CONSTRAINT good CHECK (id NOT IN (7, 8, 23)))"
        )
    stage = store(if_exists, **({"batch": {"count": 2}} if batched else {}))
    run_id = world.record(SPLIT, stage, max_errors="50%")
    assert world.run(run_id) is RunState.COMPLETED_WITH_ERRORS
    assert len(world.ids()) < ROWS
    failed = world.letters()[0][3]
    world.put_right()
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert (made.stage, made.letters) == ("store", failed)
    assert world.letters() == [("store", "out", "replaying", failed)]
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
    assert world.query("SELECT count(*)::int FROM out WHERE price = id + 0.5 AND day < '2020-02-01'") == [(ROWS,)]
    assert world.letters() == [("store", "out", "resolved", failed)]
    with pytest.raises(ReplayError, match=f"there are: {failed} resolved"):
        world.storage.replay(LetterWish(run_id=run_id))
    row = world.storage.get_run(made.run_id).run
    assert row.replay_of == run_id
    assert row.line == world.storage.get_run(run_id).run.line


def test_what_fails_again_keeps_its_letter(world: World) -> None:
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    world.run(run_id)
    world.query("ALTER TABLE out DROP CONSTRAINT good, ADD CONSTRAINT good CHECK (id <> 23)")
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert world.run(made.run_id) is RunState.COMPLETED_WITH_ERRORS
    assert world.letters() == [("store", "out", "open", 1), ("store", "out", "resolved", 1)]
    attempts = world.query("SELECT attempts, run_id::text FROM cableway.dead_letters WHERE state = 'open'")
    assert attempts == [(2, run_id)]
    world.put_right()
    (again,) = world.storage.replay(LetterWish(run_id=run_id))
    assert world.run(again.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))


def test_a_killed_replay_goes_on(world: World) -> None:
    run_id = world.record(SPLIT, store("append"), max_errors="50%", attempts=1)
    world.run(run_id)
    world.put_right()
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    variables = {"CABLEWAY_BLOCS": BLOCS, "CABLEWAY_FAILPOINT": "after_commit:kill:1", "CABLEWAY_TESTING": "1"}
    assert job(made.run_id, env=environment(world.url, **variables)).code == -9
    assert world.letters() == [("store", "out", "replaying", 2)]
    world.query("UPDATE cableway.runs SET lease_expires_at = clock_timestamp() WHERE state = 'running'")
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
    assert world.letters() == [("store", "out", "resolved", 2)]


def test_letters_of_a_replay_that_never_ran_are_open_again(world: World) -> None:
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    world.run(run_id)
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    with pytest.raises(ReplayError, match="no open dead letter"):
        world.storage.replay(LetterWish(run_id=run_id))
    world.storage.cancel_run(made.run_id)
    assert world.letters() == [("store", "out", "open", 2)]


def test_of_two_who_replay_the_same_letters_one_gets_them(world: World) -> None:
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    world.run(run_id)
    ready, outcomes = threading.Barrier(4), list[Any]()

    def ask() -> None:
        with DatabaseStorage(world.settings, catalog=Catalog(BLOCS.split(","))) as storage:
            ready.wait(10)
            try:
                outcomes.extend(storage.replay(LetterWish(run_id=run_id)))
            except ReplayError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(type(each).__name__ for each in outcomes) == ["ReplayError"] * 3 + ["Replayed"]
    assert world.query("SELECT count(*)::int FROM cableway.runs WHERE replay_of IS NOT NULL") == [(1,)]


CHECK = {"name": "check", "blocs": [{"name": "checked", "bloc_type": "checked_rows", "config": {"refuse": 10}}]}
GATHER = {"name": "sum", "gather": True, "blocs": [{"name": "sums", "bloc_type": "sum_rows"}]}
FILE = {"bloc_type": "csv_exporter", "config": {"file_path": "out.csv"}}


@pytest.mark.parametrize(
    ("stages", "settings", "says"),
    [
        ([CHECK, GATHER], {"max_errors": "50%"}, "gathers all items.*retry .* --from check"),
        ([CHECK, store("replace")], {}, "commits with its run, and that run is failed"),
        (
            [CHECK, {"name": "store", "blocs": [{"name": "out", **FILE}]}],
            {"max_errors": "50%"},
            "writes its target as a whole and takes no items.*retry",
        ),
        (
            [
                CHECK,
                {
                    "name": "store",
                    "blocs": [{"name": "out", "bloc_type": "postgres_exporter", "config": {"table_name": "new"}}],
                },
            ],
            {"max_errors": "50%"},
            "as a whole without a 'key' and takes no items",
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    world: World,
    stages: list[Any],
    settings: dict[str, Any],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run_id = world.record(*stages, **settings)
    with pytest.raises(ReplayError, match="no open dead letter"):
        world.storage.replay(LetterWish(run_id=run_id))
    world.run(run_id)
    before = world.letters()
    assert before
    with pytest.raises(ReplayError, match=says):
        world.storage.replay(LetterWish(run_id=run_id))
    assert world.letters() == before
    assert world.query("SELECT count(*)::int FROM cableway.runs") == [(1,)]


def test_another_version_would_not_know_the_keys(world: World) -> None:
    run_id = world.record(CHECK, store("append"), max_errors="50%")
    world.run(run_id)
    world.record(CHECK, SPLIT, store("append"))
    with pytest.raises(ReplayError, match="would not know what out wrote"):
        world.storage.replay(LetterWish(run_id=run_id, latest=True))
    with pytest.raises(ReplayError, match="has no version 9"):
        world.storage.replay(LetterWish(run_id=run_id, version=9))
    with pytest.raises(UnknownRunError):
        world.storage.replay(LetterWish(run_id="nothing"))


def test_a_large_payload_is_kept_elsewhere(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.payloads.payload_of.__kwdefaults__", {"limit": 10})
    where = {"CABLEWAY_PAYLOADS": f"file:{tmp_path}/payloads"}
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    world.run(run_id, **where)
    assert world.query("SELECT count(*)::int FROM cableway.dead_letters WHERE payload IS NULL") == [(2,)]
    world.put_right()
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert world.run(made.run_id) is RunState.FAILED
    assert world.letters() == [("store", "out", "open", 2)]
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert world.run(made.run_id, **where) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))


def test_a_payload_that_is_not_kept_cannot_be_replayed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cableway.running.payloads.payload_of.__kwdefaults__", {"limit": 10})
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    world.run(run_id)
    with pytest.raises(
        ReplayError, match=r"of 2 dead letters in stage 'store' only the size was kept.*CABLEWAY_PAYLOADS"
    ):
        world.storage.replay(LetterWish(run_id=run_id))


def test_a_run_is_tried_again_where_it_stopped(world: World) -> None:
    run_id = world.record(CHECK, store("replace"))
    assert world.run(run_id) is RunState.FAILED
    assert world.letters() == [("check", "checked", "open", 1), ("store", "out", "open", 2)]
    assert world.storage.retry_run(run_id) is RunState.QUEUED
    with pytest.raises(ReplayError, match="is queued"):
        world.storage.retry_run(run_id)
    world.put_right()
    assert world.run(run_id) is RunState.FAILED
    assert world.letters() == [("check", "checked", "open", 1), ("store", "out", "open", 2)]


def test_everything_is_worked_on_again_from_a_stage_on(world: World) -> None:
    sums = {**GATHER, "blocs": [{"name": "sums", "bloc_type": "sum_rows", "inputs": ["split"]}]}
    run_id = world.record(SPLIT, store("upsert"), sums)
    assert world.run(run_id) is RunState.FAILED
    world.put_right()
    with pytest.raises(ReplayError, match="has no stage 'none'"):
        world.storage.redo_run(run_id, "none")
    with pytest.raises(ReplayError, match="items failed in stage 'store' already"):
        world.storage.redo_run(run_id, "sum")
    made = world.storage.redo_run(run_id, "store")
    assert made.letters == 2
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
    assert world.letters() == [("store", "out", "resolved", 2)]
    with pytest.raises(ReplayError, match=r"is succeeded.*`cableway run`"):
        world.storage.retry_run(made.run_id)


def test_a_run_that_commits_at_its_end_goes_through_when_it_is_tried_again(world: World) -> None:
    config = {"table_name": "out", "if_exists": "replace"}
    run_id = world.record(SPLIT, {"name": "store", "blocs": [{"name": "out", **POSTGRES, "config": config}]})
    assert world.run(run_id) is RunState.FAILED
    assert world.ids() == []
    world.put_right()
    world.storage.retry_run(run_id)
    assert world.run(run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
    assert world.letters() == [("store", "out", "resolved", 2)]


def test_what_failed_of_a_run_that_commits_items_only_a_replay_works_on(world: World) -> None:
    run_id = world.record(SPLIT, store("append"))
    assert world.run(run_id) is RunState.FAILED
    world.put_right()
    world.storage.retry_run(run_id)
    assert world.run(run_id) is RunState.FAILED
    assert world.letters() == [("store", "out", "open", 2)]
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))


def failed_and_succeeded(world: World, run_id: str) -> tuple[int, int]:
    ((counts,),) = world.query("SELECT counts FROM cableway.runs WHERE run_id = %s", run_id)
    assert counts["emitted"] == sum(count for name, count in counts.items() if name != "emitted")
    return counts["failed"], counts["succeeded"]


@pytest.mark.parametrize("stages", [(SPLIT, CHECK), ()])
def test_what_replays_have_brought_through_counts_no_more_when_a_run_is_tried_again(
    world: World, stages: tuple[Any, ...]
) -> None:
    run_id = world.record(*stages, store("append"))
    assert world.run(run_id) is RunState.FAILED
    failed, succeeded = failed_and_succeeded(world, run_id)
    world.put_right()
    if stages[1:]:
        mended = """replace(document::text, '"refuse": 10', '"refuse": -1')::jsonb"""
        world.query(f"UPDATE cableway.pipeline_versions SET document = {mended}")
    for left in range(failed, 0, -1):
        world.storage.retry_run(run_id)
        assert world.run(run_id) is RunState.FAILED
        assert failed_and_succeeded(world, run_id) == (left, succeeded + failed - left)
        (made,) = world.storage.replay(LetterWish(run_id=run_id, limit=1))
        assert world.run(made.run_id) is RunState.SUCCEEDED
    world.storage.retry_run(run_id)
    assert world.run(run_id) is RunState.SUCCEEDED
    assert failed_and_succeeded(world, run_id) == (0, succeeded + failed)
    assert world.ids() == list(range(ROWS))


@pytest.mark.promise("P17")
def test_it_counts_no_more_either_where_the_attempt_that_failed_was_killed(world: World) -> None:
    run_id = world.record(SPLIT, store("append"), attempts=3)
    variables = {"CABLEWAY_BLOCS": BLOCS, "CABLEWAY_FAILPOINT": "before_finish:kill", "CABLEWAY_TESTING": "1"}
    assert job(run_id, env=environment(world.url, **variables)).code == -9
    world.query("UPDATE cableway.runs SET state = 'crashed', ended_at = now(), lease_expires_at = NULL")
    # As if the last checkpoint had not been made: whatever failed comes again.
    world.query("UPDATE cableway.cursors SET position = position - 'complete' - 'counts' - 'position'")
    world.put_right()
    for made in world.storage.replay(LetterWish(run_id=run_id)):
        assert world.run(made.run_id) is RunState.SUCCEEDED
    world.storage.retry_run(run_id)
    assert world.run(run_id) is RunState.SUCCEEDED
    assert failed_and_succeeded(world, run_id)[0] == 0
    assert world.ids() == list(range(ROWS))


def test_a_replay_on_the_line_of_a_cursor_moves_it_not(world: World) -> None:
    world.loader = {"incremental": {"cursor_field": "id"}}
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    assert world.run(run_id) is RunState.COMPLETED_WITH_ERRORS
    position = world.query("SELECT position FROM cableway.cursors")
    world.put_right()
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
    assert world.query("SELECT position FROM cableway.cursors") == position
    with pytest.raises(ReplayError, match="keeps a cursor"):
        world.storage.redo_run(run_id, "store")


@pytest.mark.parametrize("limit", [1, 9])
def test_a_refused_row_enters_its_stage_again(world: World, tmp_path: Path, limit: int) -> None:
    barrier = tmp_path / "barrier"
    barrier.touch()
    config = {"ids": [3, 31], "file": str(barrier)}
    sieve = {"name": "sieve", "blocs": [{"name": "sieve", "bloc_type": "sieve", "config": config}]}
    world.put_right()
    run_id = world.record(sieve, store("append"), max_errors="50%")
    world.run(run_id)
    assert world.query("SELECT shape, payload ->> 'day' FROM cableway.dead_letters ORDER BY 2") == [
        ("row", "2020-01-04"),
        ("row", "2020-01-04"),
    ]
    barrier.unlink()
    (made,) = world.storage.replay(LetterWish(run_id=run_id, error_type="RowError", limit=limit))
    assert made.letters == min(limit, 2)
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert len(world.ids()) == ROWS - 2 + min(limit, 2)


def test_what_is_done_in_parts_is_replayed_part_by_part(world: World) -> None:
    run_id = world.record(SPLIT, store("append"), max_errors="50%")
    world.run(run_id)
    whole = world.storage.record_run(RunRequest(pipeline="p")).run_id
    world.query("UPDATE cableway.runs SET parts = 1, state = 'failed', ended_at = now() WHERE run_id = %s", whole)
    world.query("UPDATE cableway.runs SET parent_run_id = %s, part = 1, parts = 1 WHERE run_id = %s", whole, run_id)
    with pytest.raises(ReplayError, match="is made of 1 parts"):
        world.storage.retry_run(whole)
    for each in (whole, run_id):
        with pytest.raises(ReplayError, match="part"):
            world.storage.redo_run(each, "store")
    (made,) = world.storage.replay(LetterWish(run_id=whole))
    assert made.replay_of == run_id
    world.put_right()
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
