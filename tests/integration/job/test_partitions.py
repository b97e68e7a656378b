"""Runs in parts: their shares together are one run's, whoever dies on the way, and the whole ends once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cableway.errors import ReplayError, UsageError
from cableway.job import JobRequest, run_job
from cableway.partitions import RecordedParts
from cableway.replays import LetterWish
from cableway.running import upkeep
from cableway.runs import RunRequest, cancel_run
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.port import Claimed, RunResult, RunState
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import RunRow
from cableway.stored.lines import LineRow
from tests.integration.job.process import environment, job

KILLED = -9
FILES = {"a": range(40), "b": range(40, 45), "c": range(45, 60), "d": range(60, 61)}
FROM_FILES: dict[str, Any] = {"bloc_type": "csv_loader", "config": {"file_path": "rows/*.csv", "batch_size": 4}}
FROM_TABLE: dict[str, Any] = {
    "bloc_type": "postgres_loader",
    "config": {"table_name": "source", "batch_size": 7, "key": ["k", "n"]},
}
GATHER: dict[str, Any] = {
    "name": "all",
    "gather": True,
    "blocs": [{"name": "one", "bloc_type": "sql", "config": {"query": "SELECT * FROM rows"}}],
}
APPEND = {"table_name": "target", "if_exists": "append"}
SWAP = {"table_name": "target", "if_exists": "swap", "key": ["n"]}


class World:
    """A state database that holds source and target as well, and a folder of files."""

    def __init__(self, settings: DatabaseSettings, folder: Path) -> None:
        assert settings.url is not None
        self.settings = settings
        self.url = settings.url
        self.folder = folder

    def record(
        self,
        load: dict[str, Any],
        store: dict[str, Any] = APPEND,
        parts: int = 3,
        errors: str | None = None,
        **more: Any,
    ) -> RecordedParts:
        document = {
            "name": "p",
            "stages": [
                {"name": "load", "blocs": [{"name": "rows", **load}]},
                *more.pop("between", []),
                {"name": "store", "blocs": [{"name": "out", "bloc_type": "postgres_exporter", "config": store}]},
            ],
            "settings": {
                "attempts": 5,
                "lease_ttl_s": 60,
                "concurrency": 3,
                **({"max_errors": errors} if errors else {}),
            },
        }
        with DatabaseStorage(self.settings) as storage:
            storage.save_pipeline(document)
            return storage.record_parts(RunRequest(pipeline="p", **more), parts)

    def attempt(self, run_id: str) -> int:
        """The exit code of an attempt in this process."""
        return run_job(JobRequest(run_id=run_id), self.variables)

    def kill(self, run_id: str, failpoint: str, passing: int = 1) -> None:
        """Let an attempt die at a place, and its lease run out."""
        assert not self.survived(run_id, f"{failpoint}:kill:{passing}")

    def survived(self, run_id: str, failpoint: str) -> bool:
        """Whether an attempt gets by the place at which it would die; where it does not, its lease runs out."""
        variables = {**self.variables, "CABLEWAY_FAILPOINT": failpoint, "CABLEWAY_TESTING": "1"}
        ended = job(run_id, env=environment(None, **variables))
        assert ended.code in {0, KILLED}, ended.err
        self.query("UPDATE cableway.runs SET lease_expires_at = now() WHERE lease_expires_at > now()")
        return ended.code == 0

    @property
    def variables(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.url,
            "CABLEWAY_FILE_ROOT": str(self.folder),
            "CABLEWAY_CHECKPOINT_S": "0.02",
            "CABLEWAY_LOCAL_SPANS": "0",
        }

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def allow_sixty(self) -> None:
        """Have the table that is built aside take what it refused so far, and with it the one that it replaces."""
        for (name,) in [*self.query(ASIDE), ("target",)]:
            self.query(f"ALTER TABLE {name} DROP CONSTRAINT not_sixty")

    def run(self, run_id: str) -> RunRow:
        with DatabaseStorage(self.settings) as storage:
            return storage.get_run(run_id).run


@pytest.fixture
def world(state: DatabaseSettings, tmp_path: Path) -> World:
    world = World(state, tmp_path)
    (tmp_path / "rows").mkdir()
    for name, numbers in FILES.items():
        text = "n,t\n" + "".join(f"{n},{'' if name == 'b' else n}\n" for n in numbers)
        (tmp_path / "rows" / f"{name}.csv").write_text(text)
    world.query("CREATE TABLE source AS SELECT n % 3 AS k, n, n::text AS t FROM generate_series(0, 60) AS n")
    return world


@pytest.mark.promise("P17")
@pytest.mark.parametrize(
    ("load", "kill"),
    [
        pytest.param(FROM_FILES, "after_commit", id="files-after_commit"),
        pytest.param(FROM_TABLE, "planned", id="table-planned"),
        pytest.param(FROM_FILES, "planned", id="files-planned", marks=pytest.mark.chaos),
        pytest.param(FROM_TABLE, "after_commit", id="table-after_commit", marks=pytest.mark.chaos),
    ],
)
def test_parts_load_what_one_run_does_though_one_is_killed(world: World, load: dict[str, Any], kill: str) -> None:
    recorded = world.record(load)
    first, *others = recorded.parts
    assert world.run(recorded.run_id).state == "running"
    world.kill(first, kill)
    for part in others:
        assert world.attempt(part) == 0
        assert world.run(recorded.run_id).ended_at is None
    assert world.attempt(first) == 0
    assert world.query("SELECT n FROM target ORDER BY n") == [(n,) for n in range(61)]
    whole = world.run(recorded.run_id)
    assert (whole.state, whole.exit_code, whole.attempt) == ("succeeded", 0, 0)
    emitted = world.query(
        f"SELECT sum((counts ->> 'emitted')::int) FROM cableway.runs WHERE parent_run_id = '{whole.run_id}'"
    )
    assert (whole.counts or {})["emitted"] == emitted[0][0]
    assert whole.ended_at == world.run(first).ended_at


def test_more_parts_than_there_is_to_share_out(world: World) -> None:
    world.query("DELETE FROM source WHERE n > 1")
    recorded = world.record(FROM_TABLE, parts=3)
    assert [world.attempt(part) for part in recorded.parts] == [0, 0, 0]
    assert world.query("SELECT n FROM target ORDER BY n") == [(0,), (1,)]
    assert world.run(recorded.run_id).state == "succeeded"


@pytest.mark.parametrize(
    ("load", "store", "between", "reason"),
    [
        (FROM_FILES, {"table_name": "target"}, [], "commits a run as a whole"),
        (FROM_FILES, {**APPEND, "if_exists": "fail"}, [], "commits a run as a whole"),
        ({**FROM_FILES, "config": {"file_path": "rows/*.csv"}}, APPEND, [], "batch_size"),
        (
            {**FROM_FILES, "config": {**FROM_FILES["config"], "incremental": {"cursor_field": "n"}}},
            SWAP,
            [],
            "keeps a cursor",
        ),
        (
            FROM_FILES,
            APPEND,
            [GATHER],
            "gathers",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_in_parts_is_refused_before_anything(
    world: World, capsys: pytest.CaptureFixture[str], load: Any, store: Any, between: Any, reason: str
) -> None:
    world.query("CREATE TABLE target (n int, t text); INSERT INTO target VALUES (7, 'old')")
    recorded = world.record(load, store, between=between, parts=2)
    assert world.attempt(recorded.parts[0]) == 78
    assert reason in capsys.readouterr().err
    assert world.query("SELECT n FROM target") == [(7,)]
    with DatabaseStorage(world.settings) as storage:
        cancel_run(storage.session, recorded.parts[1])
        storage.session.rows("close_wholes", run_id=None)
    assert world.run(recorded.run_id).state == "failed"


def test_the_whole_is_worked_on_by_nobody_and_its_key_makes_it_once(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = world.record(FROM_FILES, key="today")
    with DatabaseStorage(world.settings) as storage:
        again = storage.record_parts(RunRequest(pipeline="p", key="today"), 3)
        assert (again.run_id, again.parts, again.created) == (recorded.run_id, list(recorded.parts), False)
        for number in (1, 1001):
            with pytest.raises(UsageError, match="parts"):
                storage.record_parts(RunRequest(pipeline="p"), number)
        taken = storage.session.rows("take_launches", max_launching=10)
        assert {row["run_id"] for row in taken} == set(recorded.parts)
    assert world.attempt(recorded.run_id) == 2
    assert "in 3 parts" in capsys.readouterr().err


@pytest.fixture
def stores(world: World) -> Iterator[list[PostgresRunStore]]:
    made = [PostgresRunStore(world.settings) for _ in range(6)]
    yield made
    for store in made:
        store.close()


def test_parts_that_end_at_once_end_the_whole_once(world: World, stores: list[PostgresRunStore]) -> None:
    recorded = world.record(FROM_FILES, parts=6)
    world.query("UPDATE cableway.runs SET has_place = true WHERE part IS NOT NULL")
    together = threading.Barrier(6)
    plans: list[Any] = []

    def end(number: int) -> None:
        store = stores[number]
        claim = store.claim(recorded.parts[number])
        assert isinstance(claim, Claimed)
        together.wait(10)
        plans.append(store.take_share(claim.lease, [{"by": number, "for": each} for each in range(6)]))
        state = RunState.COMPLETED_WITH_ERRORS if number == 2 else RunState.SUCCEEDED
        result = RunResult(state=state, exit_code=0, counts={"emitted": 1}, rows_in=2, rows_out=3)
        together.wait(10)
        store.finish(claim.lease, result)

    threads = [threading.Thread(target=end, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({plan["by"] for plan in plans}) == 1
    assert sorted(plan["for"] for plan in plans) == list(range(6))
    whole = world.run(recorded.run_id)
    assert (whole.state, whole.rows_in, whole.rows_out) == ("completed_with_errors", 12, 18)
    assert whole.counts == {"emitted": 6}


def test_a_whole_whose_parts_are_cancelled_has_ended(world: World) -> None:
    recorded = world.record(FROM_FILES, parts=2)
    with closing(PostgresRunStore(world.settings)) as store:
        assert cancel_run(store.session, recorded.run_id) == "cancelled"
    assert [world.run(part).state for part in recorded.parts] == ["cancelled", "cancelled"]


def test_what_failed_is_tried_again_part_by_part(world: World) -> None:
    recorded = world.record(FROM_FILES, parts=2)
    first, second = recorded.parts
    assert world.attempt(first) == 0
    with DatabaseStorage(world.settings) as storage:
        cancel_run(storage.session, second)
        storage.session.rows("close_wholes", run_id=None)
        assert world.run(recorded.run_id).state == "cancelled"
        with pytest.raises(ReplayError, match="2 parts"):
            storage.retry_run(recorded.run_id)
        for run_id in (recorded.run_id, second):
            with pytest.raises(ReplayError, match="parts"):
                storage.redo_run(run_id, "store")
        storage.retry_run(second)
    assert world.attempt(second) == 0
    assert world.run(recorded.run_id).state == "succeeded"
    assert world.query("SELECT n FROM target ORDER BY n") == [(n,) for n in range(61)]


ASIDE = "SELECT relname FROM pg_class WHERE relname LIKE 'cableway_swap_%' AND relkind = 'r'"
OLD = "CREATE TABLE target (n int CONSTRAINT its_key PRIMARY KEY, t text, k int); INSERT INTO target VALUES (-1, 'old')"
NOT_SIXTY = "ALTER TABLE target ADD CONSTRAINT not_sixty CHECK (n <> 60)"


def numbers(world: World) -> list[int]:
    return [row[0] for row in world.query("SELECT n FROM target ORDER BY n")]


@pytest.mark.timeout(180)
@pytest.mark.promise("P17")
@pytest.mark.parametrize(
    ("load", "old"),
    [
        pytest.param(FROM_FILES, True, id="files-over_another"),
        pytest.param(FROM_TABLE, False, id="table-new"),
        pytest.param(FROM_FILES, False, id="files-new", marks=pytest.mark.chaos),
        pytest.param(FROM_TABLE, True, id="table-over_another", marks=pytest.mark.chaos),
    ],
)
def test_parts_build_a_table_aside_that_the_last_one_puts_in_place(
    world: World, load: dict[str, Any], *, old: bool
) -> None:
    if old:
        world.query(OLD)
    recorded = world.record(load, SWAP)
    first, *others = recorded.parts
    world.kill(first, "after_commit")
    for part in others:
        assert world.attempt(part) == 0
    assert numbers(world) == [-1] if old else world.query("SELECT to_regclass('target')") == [(None,)]
    assert len(world.query(ASIDE)) == 1
    assert world.attempt(first) == 0
    assert numbers(world) == list(range(61))
    assert world.query(ASIDE) == []
    names = world.query("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'target'::regclass")
    assert names == [("its_key" if old else "target_pkey",)]
    assert world.run(recorded.run_id).state == "succeeded"


@pytest.mark.promise("P17")
@pytest.mark.parametrize(("place", "swapped"), [("before_commit", False), ("after_commit", True)])
def test_a_part_that_dies_as_it_puts_the_table_in_place_does_it_once(
    world: World, place: str, *, swapped: bool
) -> None:
    world.query(OLD)
    recorded = world.record(FROM_FILES, SWAP, parts=2)
    first, second = recorded.parts
    assert world.attempt(first) == 0
    items = sum(-(-len(rows) // 4) for name, rows in FILES.items() if name != "a")
    world.kill(second, place, items + 1)
    assert numbers(world) == (list(range(61)) if swapped else [-1])
    world.query("CREATE TABLE seen AS SELECT 'target'::regclass::oid AS oid")
    assert world.attempt(second) == 0
    assert numbers(world) == list(range(61))
    assert world.query("SELECT oid = 'target'::regclass FROM seen") == [(swapped,)]


def test_a_part_that_fails_leaves_the_old_table_until_it_is_tried_again(world: World) -> None:
    world.query(f"{OLD}; {NOT_SIXTY}")
    recorded = world.record(FROM_FILES, SWAP, parts=2)
    first, second = recorded.parts
    assert [world.attempt(first), world.attempt(second)] == [0, 3]
    assert (world.run(recorded.run_id).state, numbers(world)) == ("failed", [-1])
    world.allow_sixty()
    with DatabaseStorage(world.settings) as storage:
        (replayed,) = storage.replay(LetterWish(run_id=second))
    assert world.attempt(replayed.run_id) == 0
    assert numbers(world) == [-1]
    with DatabaseStorage(world.settings) as storage:
        storage.retry_run(second)
    assert world.attempt(second) == 0
    assert numbers(world) == list(range(61))
    assert world.run(recorded.run_id).state == "succeeded"


def test_what_is_replayed_before_the_table_is_in_place_goes_aside_too(world: World) -> None:
    world.query(f"{OLD}; {NOT_SIXTY}")
    recorded = world.record(FROM_FILES, SWAP, parts=2, errors="50%")
    first, second = recorded.parts
    assert world.attempt(second) == 0
    world.allow_sixty()
    with DatabaseStorage(world.settings) as storage:
        (replayed,) = storage.replay(LetterWish(run_id=second))
    assert world.attempt(replayed.run_id) == 0
    assert numbers(world) == [-1]
    assert world.attempt(first) == 0
    assert numbers(world) == list(range(61))


def test_parts_that_are_through_at_once_swap_once(world: World) -> None:
    world.query(OLD)
    recorded = world.record(FROM_FILES, SWAP, parts=3)
    threads = [threading.Thread(target=world.attempt, args=(part,)) for part in recorded.parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert numbers(world) == list(range(61))
    assert world.run(recorded.run_id).state == "succeeded"
    assert world.query("SELECT count(*) FROM cableway_commits WHERE item_key = 'end'") == [(1,)]


def test_batches_that_could_be_cut_otherwise_are_refused_in_parts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = {"name": "some", "batch": {"period_s": 1}, "blocs": [{"name": "same", "bloc_type": "pass_through"}]}
    recorded = world.record(FROM_FILES, SWAP, between=[batches], parts=2)
    assert world.attempt(recorded.parts[0]) == 78
    assert "period_s" in capsys.readouterr().err


def test_what_was_built_aside_goes_with_the_keys_of_a_run_that_never_ended_well(world: World) -> None:
    abandoned = world.record(FROM_FILES, SWAP, parts=2)
    assert world.attempt(abandoned.parts[0]) == 0
    with DatabaseStorage(world.settings) as storage:
        cancel_run(storage.session, abandoned.run_id)
    assert len(world.query(ASIDE)) == 1
    world.query(
        "UPDATE cableway.runs SET ended_at = now() - interval '31 days'; "
        "UPDATE cableway_commits SET committed_at = now() - interval '31 days'"
    )
    recorded = world.record(FROM_FILES, SWAP, parts=2)
    assert [world.attempt(part) for part in recorded.parts] == [0, 0]
    assert numbers(world) == list(range(61))
    assert world.query(ASIDE) == []
    with DatabaseStorage(world.settings) as storage:
        storage.retry_run(abandoned.parts[1])
    assert world.attempt(abandoned.parts[1]) == 3


NEW = {"incremental": {"cursor_field": "n", "lag": 3, "primary_key": ["n"]}}
NEW_FROM_FILES = {**FROM_FILES, "config": {**FROM_FILES["config"], **NEW}}
NEW_FROM_TABLE = {**FROM_TABLE, "config": {**FROM_TABLE["config"], **NEW}}


def more(world: World, first: int, last: int) -> None:
    """New rows, and the newest old one once more in another file."""
    text = "".join(f"{n},{n}\n" for n in range(first, last))
    (world.folder / "rows" / f"from{first}.csv").write_text(f"n,t\n{text}")
    world.query(f"INSERT INTO source SELECT n % 3, n, n::text FROM generate_series({first}, {last - 1}) AS n")


def cursor(world: World) -> LineRow:
    with DatabaseStorage(world.settings) as storage:
        (line,) = storage.list_lines("p")
    return line


@pytest.mark.timeout(180)
@pytest.mark.promise("P17")
@pytest.mark.parametrize(
    "load", [pytest.param(NEW_FROM_FILES, marks=pytest.mark.chaos), NEW_FROM_TABLE], ids=["files", "table"]
)
def test_parts_move_a_cursor_together_once_all_are_through(world: World, load: dict[str, Any]) -> None:
    first, *others = world.record(load).parts
    for part in others:
        assert world.attempt(part) == 0
    assert (cursor(world).last, cursor(world).complete) == (None, False)
    world.kill(first, "before_finish")
    assert (cursor(world).last, cursor(world).complete) == (60, True)
    assert world.attempt(first) == 0
    assert numbers(world) == list(range(61))
    more(world, 61, 70)
    recorded = world.record(load)
    one, two, three = recorded.parts
    world.kill(three, "after_commit" if load is NEW_FROM_TABLE else "planned")
    assert [world.attempt(part) for part in (one, two, three)] == [0, 0, 0]
    assert numbers(world) == list(range(70))
    with DatabaseStorage(world.settings) as storage:
        assert storage.get_run(recorded.run_id).run.line == cursor(world).line
        more(world, 70, 75)
        single = storage.record_run(RunRequest(pipeline="p")).run_id
    assert world.attempt(single) == 0
    assert numbers(world) == list(range(75))
    assert (cursor(world).last, cursor(world).lap, cursor(world).run_id) == (74, 2, single)


@pytest.mark.timeout(180)
def test_no_other_run_reads_what_the_parts_of_one_have_read_in_part(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = world.record(NEW_FROM_FILES, parts=2)
    first, second = recorded.parts
    assert world.attempt(first) == 0
    with DatabaseStorage(world.settings) as storage:
        single = storage.record_run(RunRequest(pipeline="p")).run_id
    monkeypatch.setattr(upkeep, "LOOK_AGAIN_S", 0.01)
    world.query(f"UPDATE cableway.runs SET lease_ttl_s = 0.5 WHERE run_id = '{single}'")
    assert world.attempt(single) == 3
    assert "nobody works on its parts" in capsys.readouterr().err
    with DatabaseStorage(world.settings) as storage:
        cancel_run(storage.session, recorded.run_id)
    world.query(f"UPDATE cableway.runs SET not_before = NULL WHERE run_id = '{single}'")
    assert world.attempt(single) == 3
    assert "not all of its parts are through" in capsys.readouterr().err
    with DatabaseStorage(world.settings) as storage:
        storage.retry_run(second)
    assert world.attempt(second) == 0
    assert numbers(world) == list(range(61))
    more(world, 61, 65)
    world.query(f"UPDATE cableway.runs SET not_before = NULL WHERE run_id = '{single}'")
    assert world.attempt(single) == 0
    assert numbers(world) == list(range(65))


@pytest.mark.timeout(180)
def test_parts_take_up_no_lap_that_one_run_has_left_in_the_middle(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = world.record(NEW_FROM_FILES, parts=2)
    with DatabaseStorage(world.settings) as storage:
        cancel_run(storage.session, recorded.run_id)
        single = storage.record_run(RunRequest(pipeline="p")).run_id
    world.kill(single, "after_commit")
    world.query("UPDATE cableway.runs SET lease_expires_at = now() WHERE state = 'running'")
    second = world.record(NEW_FROM_FILES, parts=2)
    assert world.attempt(second.parts[0]) == 3
    assert f"run {single} has left the cursor" in capsys.readouterr().err
    assert world.attempt(single) == 0
    world.query("UPDATE cableway.runs SET not_before = NULL")
    assert [world.attempt(part) for part in second.parts] == [0, 0]
    assert numbers(world) == list(range(61))


@pytest.mark.timeout(180)
def test_a_part_that_died_at_its_end_needs_the_cursor_no_more(world: World) -> None:
    recorded = world.record(NEW_FROM_FILES, parts=2)
    first, second = recorded.parts
    assert world.attempt(first) == 0
    world.kill(second, "before_finish")
    world.query(
        "UPDATE cableway.runs SET state = 'crashed', lease_expires_at = NULL, ended_at = now(), has_place = false "
        "WHERE state = 'running' AND part IS NOT NULL"
    )
    with DatabaseStorage(world.settings) as storage:
        storage.session.rows("close_wholes", run_id=None)
        assert world.run(recorded.run_id).state == "crashed"
        more(world, 61, 70)
        single = storage.record_run(RunRequest(pipeline="p")).run_id
    world.kill(single, "after_commit")
    assert world.attempt(second) == 0
    assert world.run(recorded.run_id).state == "succeeded"
    assert world.attempt(single) == 0
    assert numbers(world) == list(range(70))


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.promise("P17")
@pytest.mark.fault("B4")
@pytest.mark.parametrize("store", [SWAP, APPEND], ids=["swap", "cursor"])
@pytest.mark.parametrize("seed", range(5))
def test_parts_that_are_killed_anywhere(world: World, store: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    world.query(OLD.replace("-1, 'old'", "0, 'old'") if store is SWAP else "SELECT 1")
    left = list(world.record(FROM_FILES if store is SWAP else NEW_FROM_TABLE, store, parts=3).parts)
    for _ in range(10):
        part = chance.choice(left)
        if world.survived(part, f"*:kill:{chance.randint(1, 25)}"):
            left.remove(part)
        if not left:
            break
    assert [world.attempt(part) for part in left] == [0] * len(left)
    assert numbers(world) == list(range(61))
    assert world.query(ASIDE) == []
    assert store is SWAP or (cursor(world).last, cursor(world).complete) == (60, True)
