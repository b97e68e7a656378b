"""What an exporter keeps of a line: whole runs, laps, replays, and keys that are given up."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cableway.blocs.kinds import Ending, LinePlace
from cableway.blocs.postgres.intake import CONFLICT_TRIES
from cableway.blocs.postgres.table import Target
from cableway.errors import DefinitionError, RowError, SinkError
from cableway.settings import DatabaseSettings
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version
from tests.integration.blocs.conftest import Exporter, Open, Query

ITEMS = ("0:0:0", "0:10:90", "0:20:180")


@pytest.mark.promise("P17")
@pytest.mark.parametrize("if_exists", ["append", "upsert"])
def test_behind_a_source_that_cannot_be_read_again_a_run_commits_once(
    open_exporter: Open, query: Query, if_exists: str
) -> None:
    query("CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers VALUES (0)")
    config: dict[str, Any] = {"if_exists": if_exists, "key": ["n"]}
    place = LinePlace(whole_run=True, end_key="end~3", lap=3, cursor=lambda: '{"reached": 7}')
    failed = open_exporter(place=place, **config)
    failed.write([{"n": 1}], ITEMS[0])
    failed.close(Ending.FAILED)
    exporter = open_exporter(token=2, place=place, **config)
    assert exporter.bloc.written().ended is None
    exporter.write([{"n": 1}], ITEMS[0])
    with pytest.raises(RowError):
        exporter.write([{"n": None}], ITEMS[1])
    exporter.write([{"n": 2}], ITEMS[2])
    assert query("SELECT n FROM numbers") == [(0,)]
    exporter.close()
    assert query("SELECT n FROM numbers ORDER BY n") == [(0,), (1,), (2,)]
    again = open_exporter(token=3, place=place, **config)
    assert again.bloc.written().ended == '{"reached": 7}'
    assert again.write([{"n": 9}], ITEMS[0]) == 0
    again.close()
    assert query("SELECT item_key, lap FROM cableway_commits") == [("end~3", 3)]
    next_lap = open_exporter(token=4, place=LinePlace(whole_run=True, end_key="end~4", lap=4), **config)
    assert next_lap.write([{"n": 3}], ITEMS[0]) == 1
    next_lap.close()
    assert query("SELECT count(*) FROM numbers") == [(4,)]


@pytest.mark.promise("P17")
def test_an_exporter_tells_what_the_lap_has(open_exporter: Open) -> None:
    first = open_exporter(if_exists="append", place=LinePlace(lap=0))
    first.write([{"n": 1}], "0~a")
    second = open_exporter(if_exists="append", token=2, place=LinePlace(lap=1))
    for item in ("1~a", "1~b..1~c"):
        second.write([{"n": 1}], item)
    written = second.bloc.written()
    assert (sorted(written.keys), written.ended) == (["1~a", "1~b..1~c"], None)
    other = open_exporter(if_exists="append", token=3, name="other", place=LinePlace(lap=1))
    assert list(other.bloc.written().keys) == []


@pytest.mark.promise("P17")
def test_a_replay_into_replace_puts_its_rows_among_those_that_are_there(open_exporter: Open, query: Query) -> None:
    run = open_exporter(key=["n"])
    run.write([{"n": 1, "t": "old"}, {"n": 2, "t": "old"}], ITEMS[0])
    run.close()
    replay = open_exporter(key=["n"], token=2, place=LinePlace(replay=True))
    assert replay.write([{"n": 2, "t": "new"}, {"n": 3, "t": "new"}], ITEMS[1]) == 2
    replay.close()
    assert query("SELECT n, t FROM numbers ORDER BY n") == [(1, "old"), (2, "new"), (3, "new")]
    twice = open_exporter(key=["n"], token=3, place=LinePlace(replay=True))
    assert twice.write([{"n": 2, "t": "again"}], ITEMS[1]) == 0
    for if_exists in ("replace", "swap", "fail"):
        with pytest.raises(DefinitionError, match="'key' that tells their rows"):
            open_exporter(if_exists=if_exists, place=LinePlace(replay=True))


@pytest.mark.promise("P18")
@pytest.mark.fault("C8")
def test_a_poller_never_sees_an_empty_or_mixed_table(open_exporter: Open, query: Query, database: str) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers SELECT 1 FROM generate_series(1, 500)")
    seen: set[tuple[int, int]] = set()
    enough, over = threading.Event(), threading.Event()

    def poll() -> None:
        with psycopg.connect(database, autocommit=True) as reader:
            while not over.is_set():
                row = reader.execute("SELECT count(*), count(DISTINCT n) FROM numbers").fetchone()
                seen.add((row[0], row[1]) if row else (0, 0))
                enough.set()

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        assert enough.wait(10)
        for run in range(2, 6):
            exporter = open_exporter(line=f"line-{run}", if_exists="replace")
            for item in ITEMS:
                exporter.write([{"n": run}] * 100, item)
            exporter.close()
    finally:
        over.set()
        poller.join(10)
    assert seen <= {(500, 1), (300, 1)}


@pytest.mark.promise("P18")
@pytest.mark.fault("C10")
def test_of_two_runs_that_replace_a_table_one_is_left_whole(database: str, query: Query) -> None:
    def run(number: int) -> None:
        exporter = Exporter(database, line=f"line-{number}")
        for item in ITEMS:
            exporter.write([{"n": number}] * 50, item)
        exporter.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert query("SELECT count(*), count(DISTINCT n) FROM numbers") == [(150, 1)]


@pytest.mark.fault("C11")
@pytest.mark.parametrize("if_exists", ["append", "upsert", "replace", "swap"])
@pytest.mark.parametrize("code", ["40P01", "40001"])
@pytest.mark.parametrize("conflicts", [CONFLICT_TRIES - 1, CONFLICT_TRIES])
def test_conflicts_with_others_are_tried_again_five_times(
    open_exporter: Open,
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
    if_exists: str,
    code: str,
    conflicts: int,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("cableway.blocs.postgres.intake.time.sleep", waits.append)
    query("CREATE TABLE numbers (n int PRIMARY KEY)")
    exporter = open_exporter(if_exists=if_exists, key=["n"])
    original, left = Target.copy, [conflicts]
    raising = sql.SQL("DO {}").format(sql.Literal(f"BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '{code}'; END"))

    def in_the_way(self: Target, connection: Any, *args: Any, **options: Any) -> int:
        rows = original(self, connection, *args, **options)
        left[0] -= 1
        if left[0] >= 0:
            connection.execute(raising)
        return rows

    monkeypatch.setattr(Target, "copy", in_the_way)
    if conflicts == CONFLICT_TRIES:
        with pytest.raises(SinkError, match="another transaction was in the way"):
            exporter.write([{"n": 1}])
        exporter.close(Ending.FAILED)
    else:
        assert exporter.write([{"n": 1}]) == 1
        exporter.close()
    assert len(waits) == CONFLICT_TRIES - 1
    assert query("SELECT count(*) FROM numbers") == [(int(conflicts < CONFLICT_TRIES),)]


Old = Callable[..., str]


@pytest.fixture
def old_run(session: Session) -> Old:
    """Records a run that ended days ago, and returns its line."""

    def make(days: float, *, state: str = "succeeded", letter: bool = False, cursor: bool = False) -> str:
        line = str(uuid.uuid4())
        connection = session.connection()
        connection.execute(
            "INSERT INTO cableway.runs (run_id, pipeline, version, state, parameters, line, lease_ttl_s, ended_at) "
            "VALUES (%(line)s, 'flights', 1, %(state)s, '{}', %(line)s, 60, now() - %(days)s * interval '1 day')",
            {"line": line, "days": days, "state": state},
        )
        if letter:
            connection.execute(
                "INSERT INTO cableway.dead_letters (run_id, attempt, item_id, stage, bloc, error_type, message, "
                "attempts, payload_bytes) VALUES (%s, 1, 'i', 's', 'b', 'E', 'm', 1, 0)",
                (line,),
            )
        if cursor:
            connection.execute(
                "INSERT INTO cableway.cursors (line, pipeline, loader, position, lease_token) "
                "VALUES (%s, 'flights', 'l', '{}', 1)",
                (line,),
            )
        return line

    store_version(session, pipeline())
    return make


def wrote(state: DatabaseSettings, line: str, *, lap: int = 0, token: int = 1, **config: Any) -> None:
    exporter = Exporter(state.url or "", line=line, token=token, place=LinePlace(lap=lap), if_exists="append", **config)
    for item in ITEMS:
        exporter.write([{"n": 1}], f"{lap}~{item}")
    exporter.close()


@pytest.mark.promise("P17")
def test_keys_of_lines_that_ended_long_ago_are_given_up(
    state: DatabaseSettings, session: Session, old_run: Old
) -> None:
    lines = {
        "old": old_run(40),
        "young": old_run(20),
        "waits": old_run(40, letter=True),
        "cursor": old_run(40, cursor=True),
        "unknown": str(uuid.uuid4()),
    }
    for line in lines.values():
        wrote(state, line)
        wrote(state, line, name="second", table_name="others")
    connection = session.connection()
    connection.execute("UPDATE cableway_commits SET committed_at = now() - interval '35 days'")
    wrote(state, str(uuid.uuid4()))
    kept = connection.execute(
        "SELECT line, bloc, array_agg(item_key) AS keys FROM cableway_commits GROUP BY 1, 2"
    ).fetchall()
    keys = {(row["line"], row["bloc"]): row["keys"] for row in kept}
    for name, line in lines.items():
        for bloc in ("store", "second"):
            assert keys[line, bloc] == ["pruned"] if name == "old" else len(keys[line, bloc]) == 3
    fences = {row["line"] for row in connection.execute("SELECT line FROM cableway_fences").fetchall()}
    assert lines["old"] not in fences
    assert lines["young"] in fences
    with pytest.raises(SinkError, match="no longer knows what it wrote; start a new run"):
        wrote(state, lines["old"], token=9)
    wrote(state, lines["young"], token=9)


@pytest.mark.promise("P17")
def test_a_cursors_earlier_laps_are_folded_into_one_row(
    state: DatabaseSettings, session: Session, old_run: Old
) -> None:
    line = old_run(40, cursor=True)
    wrote(state, line, lap=0)
    wrote(state, line, lap=1, token=2)
    connection = session.connection()
    connection.execute("UPDATE cableway_commits SET committed_at = now() - interval '35 days'")
    wrote(state, line, lap=2, token=3)
    found = connection.execute("SELECT item_key, lap FROM cableway_commits ORDER BY lap, item_key").fetchall()
    assert [tuple(row.values()) for row in found] == [("pruned", 1), *((f"2~{item}", 2) for item in ITEMS)]
    wrote(state, line, lap=2, token=4)
    with pytest.raises(SinkError, match="start a new run"):
        wrote(state, line, lap=1, token=5)


def test_pruning_never_fails_a_run(state: DatabaseSettings, session: Session, old_run: Old) -> None:
    wrote(state, old_run(40))
    connection = session.connection()
    connection.execute("UPDATE cableway_commits SET committed_at = now() - interval '35 days'")
    connection.execute("ALTER TABLE cableway.runs RENAME TO gone")
    wrote(state, str(uuid.uuid4()))
