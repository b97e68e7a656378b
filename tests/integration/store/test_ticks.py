from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cableway.definition import RunSettings
from cableway.errors import DefinitionError, ParameterError, UnknownNameError
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.port import Claimed, RunResult, RunState, TakenLine
from cableway.store.postgres import PostgresRunStore
from cableway.store.session import Session
from cableway.stored.tick_plans import TickPlan, plan_ticks
from cableway.stored.ticks import BATCH, DecidedTicks, decide
from tests.fixtures.processor_time import within
from tests.fixtures.state import pipeline, store_version

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def storage(state: DatabaseSettings) -> Iterator[DatabaseStorage]:
    with DatabaseStorage(state) as storage:
        store_version(storage.session, replace(pipeline("flights"), settings=RunSettings()))
        yield storage


def tick(session: Session, now: datetime | None = None, **options: Any) -> DecidedTicks:
    with session.transaction():
        return session.drive(decide(session.settings, now=now, **options))


def due_from(session: Session, instant: datetime) -> None:
    """As if all schedulers had been made then."""
    with session.transaction():
        session.connection().execute(
            "UPDATE cableway.schedulers SET decided_to = %s, next_at = %s, active_since = %s",
            (instant, instant, instant),
        )


def scheduler(storage: DatabaseStorage, name: str = "hourly", expression: str = "0 * * * *", **policies: Any) -> None:
    storage.create_trigger(f"rule of {name}", "flights", expression)
    storage.create_scheduler(name, "flights", f"rule of {name}", **{"overlap": "allow", **policies})


def rows(session: Session, text: str) -> list[Any]:
    return session.connection().execute(text.encode()).fetchall()


def ran(session: Session, name: str = "hourly") -> list[str]:
    found = rows(session, f"SELECT scheduled_at FROM cableway.runs WHERE scheduler_name = '{name}' ORDER BY 1")
    return [row["scheduled_at"].astimezone(UTC).strftime("%d %H:%M") for row in found]


def covered(session: Session) -> list[tuple[str, str, int, str]]:
    found = rows(session, "SELECT * FROM cableway.ticks WHERE reason IS NOT NULL ORDER BY tick_from")
    spans = ([row[key].astimezone(UTC).strftime("%d %H:%M") for key in ("tick_from", "tick_to")] for row in found)
    return [(first, last, row["count"], row["reason"]) for row, (first, last) in zip(found, spans, strict=True)]


@pytest.mark.promise("P1")
def test_a_tick_makes_its_run_once(storage: DatabaseStorage) -> None:
    scheduler(storage)
    due_from(storage.session, NOON - MINUTE)
    decided = tick(storage.session, NOON)
    assert [(each.scheduler, each.tick) for each in decided.fired] == [("hourly", NOON)]
    again = [tick(storage.session, NOON + MINUTE * n) for n in range(60)]
    assert not any(each.fired or each.schedulers for each in again)
    assert ran(storage.session) == ["01 12:00"]
    fired = rows(storage.session, "SELECT run_id::text AS run_id, count FROM cableway.ticks")
    assert fired == [{"run_id": decided.fired[0].run_id, "count": 1}]
    run = storage.get_run(decided.fired[0].run_id).run
    assert (run.scheduler_name, run.trigger_name, run.scheduled_at) == ("hourly", "rule of hourly", NOON)


def test_a_new_scheduler_fills_nothing_in(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="* * * * *", catchup="all", starts_at=datetime(2020, 1, 1, tzinfo=UTC))
    decided = tick(storage.session)
    assert (decided.schedulers, decided.fired, decided.not_run) == (1, (), 0)
    assert tick(storage.session).schedulers == 0


@pytest.mark.promise("P6")
@pytest.mark.fault("D4")
@pytest.mark.parametrize("away", [timedelta(minutes=1), timedelta(hours=6), timedelta(days=30)], ids=str)
@pytest.mark.parametrize("catchup", ["none", "latest", "all"])
@pytest.mark.parametrize("expression", ["* * * * *", "0 * * * *", "30 5 * * *"])
def test_whatever_was_missed_is_run_or_on_record(
    storage: DatabaseStorage, away: timedelta, catchup: str, expression: str
) -> None:
    scheduler(storage, expression=expression, catchup=catchup, catchup_window_s=7200, max_catchup_runs=5)
    due_from(storage.session, NOON)
    back = NOON + away + timedelta(seconds=30)
    with within(1):  # the work is bounded
        decided = tick(storage.session, back)
    all_ticks = {"* * * * *": away // MINUTE, "0 * * * *": away // timedelta(hours=1), "30 5 * * *": away.days}
    # Whole hours away: half past five is among them 30 times in 30 days, and not between noon and six.
    assert len(decided.fired) + decided.not_run == all_ticks[expression]
    late = [each for each in decided.fired if back - each.tick > timedelta(seconds=90)]
    assert len(late) <= {"none": 0, "latest": 1, "all": 5}[catchup]
    assert all(back - each.tick <= timedelta(hours=2) for each in decided.fired)
    recorded = rows(storage.session, "SELECT coalesce(sum(count), 0) AS all FROM cableway.ticks")[0]["all"]
    assert recorded == all_ticks[expression]


@pytest.mark.promise("P6")
def test_catching_up_begins_with_the_latest_and_says_why_it_left_the_others(storage: DatabaseStorage) -> None:
    scheduler(storage, catchup="all", catchup_window_s=4 * 3600, max_catchup_runs=2)
    due_from(storage.session, NOON)
    tick(storage.session, NOON + timedelta(hours=10, minutes=30))
    assert ran(storage.session) == ["01 21:00", "01 22:00"]
    assert covered(storage.session) == [
        ("01 13:00", "01 18:00", 6, "deadline"),
        ("01 19:00", "01 20:00", 2, "catchup_limit"),
    ]


@pytest.mark.promise("P6")
def test_by_default_one_run_makes_up_for_what_was_missed(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="*/10 * * * *")
    due_from(storage.session, NOON)
    tick(storage.session, NOON + timedelta(minutes=45))
    assert ran(storage.session) == ["01 12:40"]
    assert covered(storage.session) == [("01 12:10", "01 12:30", 3, "catchup_limit")]


@pytest.mark.promise("P6")
@pytest.mark.promise("P7")
def test_an_overlap_is_on_record(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="* * * * *", overlap="skip")
    due_from(storage.session, NOON)
    for number in range(1, 5):
        tick(storage.session, NOON + MINUTE * number)
    assert ran(storage.session) == ["01 12:01"]
    assert [row[3] for row in covered(storage.session)] == ["overlap"] * 3


def test_without_its_pipeline_a_tick_does_nothing_and_says_so(storage: DatabaseStorage) -> None:
    storage.create_trigger("rule", "later", "0 * * * *")
    storage.create_scheduler("hourly", "later", "rule")
    scheduler(storage, "wrong", parameters={"unknown": 1})
    due_from(storage.session, NOON)
    decided = tick(storage.session, NOON + timedelta(hours=1))
    assert (decided.fired, decided.not_run, decided.faulty) == ((), 2, ())
    assert {row[3] for row in covered(storage.session)} == {"no_pipeline", "refused"}


@pytest.mark.promise("P8")
def test_a_time_that_the_clocks_leave_out_can_be_skipped(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="30 2 * * *", timezone="America/New_York", dst_gap="skip", catchup="all",
              catchup_window_s=7 * 86_400)  # fmt: skip
    due_from(storage.session, datetime(2026, 3, 7, tzinfo=UTC))
    tick(storage.session, datetime(2026, 3, 10, tzinfo=UTC))
    assert ran(storage.session) == ["07 07:30", "09 06:30"]
    assert covered(storage.session) == [("08 07:00", "08 07:00", 1, "dst_gap")]


def test_start_and_end_are_kept_to(storage: DatabaseStorage) -> None:
    scheduler(storage, starts_at=NOON + timedelta(hours=2), ends_at=NOON + timedelta(hours=4), catchup="all",
              catchup_window_s=86_400)  # fmt: skip
    due_from(storage.session, NOON)
    decided = tick(storage.session, NOON + timedelta(hours=1))
    assert (decided.schedulers, decided.fired, decided.not_run) == (1, (), 0)
    tick(storage.session, NOON + timedelta(hours=9))
    assert ran(storage.session) == ["01 14:00", "01 15:00"]
    assert covered(storage.session) == []
    assert rows(storage.session, "SELECT next_at FROM cableway.schedulers") == [{"next_at": None}]


def test_jitter_delays_the_launch_and_not_the_tick(storage: DatabaseStorage) -> None:
    scheduler(storage, jitter_s=600)
    scheduler(storage, "other", jitter_s=600)
    due_from(storage.session, NOON - MINUTE)
    fired = tick(storage.session, NOON).fired
    assert {each.tick for each in fired} == {NOON}
    delays = {(each.not_before or NOON) - NOON for each in fired}
    assert len(delays) == 2
    assert all(timedelta() <= delay <= timedelta(minutes=10) for delay in delays)
    stored = rows(storage.session, "SELECT not_before FROM cableway.runs")
    assert {row["not_before"] - NOON for row in stored} == delays


@pytest.mark.promise("P6")
def test_what_a_pause_leaves_out_is_on_record_when_it_ends(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="* * * * *")
    storage.pause_scheduler("hourly", "the source is being moved")
    row = storage.get_scheduler("hourly")
    assert (row.paused, row.pause_note) == (True, "the source is being moved")
    began = datetime.now(UTC) - timedelta(hours=3)
    due_from(storage.session, began)
    tick(storage.session)
    assert ran(storage.session) == []
    assert [row[2:] for row in covered(storage.session)] == [(180, "paused")]
    assert rows(storage.session, "SELECT next_at FROM cableway.schedulers") == [{"next_at": None}]
    storage.resume_scheduler("hourly")
    tick(storage.session)
    assert ran(storage.session) == []
    assert sum(row[2] for row in covered(storage.session)) in {180, 181}  # a minute may have begun in between


def test_a_trigger_that_is_switched_off_rests(storage: DatabaseStorage) -> None:
    scheduler(storage)
    storage.update_trigger("rule of hourly", enabled=False)
    due_from(storage.session, NOON)
    assert tick(storage.session, NOON + timedelta(hours=2)).not_run == 2
    assert {row[3] for row in covered(storage.session)} == {"paused"}


@pytest.mark.promise("P7")
@pytest.mark.fault("D11")
def test_editing_a_rule_neither_repeats_nor_fills_in(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="* * * * *", catchup="all", catchup_window_s=86_400)
    due_from(storage.session, datetime.now(UTC) - MINUTE * 3)
    # One tick or more is due and undecided: by the old rule it is run, for the edit decides it first.
    storage.update_trigger("rule of hourly", expression="*/2 * * * *")
    before = ran(storage.session)
    assert len(before) in {3, 4}
    for number in range(100):
        storage.update_trigger("rule of hourly", expression="* * * * *" if number % 2 else "*/3 * * * *")
        tick(storage.session)
    runs = ran(storage.session)
    assert len(set(runs)) == len(runs)
    assert len(runs) - len(before) <= 2, "at most the minutes that went by meanwhile"
    assert covered(storage.session) == []


@pytest.mark.promise("P7")
@pytest.mark.fault("D11")
def test_an_edit_just_after_a_tick_leaves_it_decided(storage: DatabaseStorage) -> None:
    scheduler(storage)
    due_from(storage.session, NOON - MINUTE)
    tick(storage.session, NOON + timedelta(seconds=1))
    storage.update_trigger("rule of hourly", expression="0,1 * * * *")
    storage.update_trigger("rule of hourly", expression="0 * * * *")
    tick(storage.session, NOON + timedelta(seconds=2))
    # The edits decide what was due by the real clock, and never that tick again.
    assert ran(storage.session).count("01 12:00") == 1


@pytest.mark.promise("P9")
@pytest.mark.fault("D5")
def test_a_clock_that_goes_back_repeats_nothing_and_one_that_leaps_misses(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="*/30 * * * *")
    due_from(storage.session, NOON)
    leaps = [timedelta(), timedelta(hours=1), -timedelta(hours=1), -timedelta(days=1), timedelta(days=3653)]
    for leap in leaps:
        tick(storage.session, NOON + timedelta(hours=2) + leap)
    tick(storage.session, datetime(1970, 1, 1, tzinfo=UTC))
    counted = "SELECT count(*) AS runs, count(DISTINCT scheduled_at) AS ticks FROM cableway.runs"
    assert rows(storage.session, counted) == [{"runs": 3, "ticks": 3}]
    total = rows(storage.session, "SELECT sum(count)::bigint AS all FROM cableway.ticks")[0]["all"]
    assert total == (timedelta(hours=2) + timedelta(days=3653)) // timedelta(minutes=30)


@pytest.mark.fault("D9")
@pytest.mark.fault("D14")
def test_what_nobody_can_read_keeps_no_other_back(storage: DatabaseStorage, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("good", "rotten", "nowhere"):
        scheduler(storage, name)
    connection = storage.session.connection()
    connection.execute("UPDATE cableway.triggers SET expression = 'R R * * *' WHERE name = 'rule of rotten'")
    connection.execute("UPDATE cableway.schedulers SET timezone = '../../etc/passwd' WHERE name = 'nowhere'")
    due_from(storage.session, NOON - MINUTE)
    with caplog.at_level(logging.ERROR, "cableway.scheduler"):
        decided = tick(storage.session, NOON)
    assert [each.scheduler for each in decided.fired] == ["good"]
    assert sorted(decided.faulty) == ["nowhere", "rotten"]
    assert len(caplog.records) == 2
    errors = rows(storage.session, "SELECT name, error FROM cableway.schedulers WHERE error IS NOT NULL ORDER BY name")
    assert [row["name"] for row in errors] == ["nowhere", "rotten"]
    assert "time zone" in errors[0]["error"]
    storage.update_trigger("rule of rotten", expression="0 * * * *")
    due = rows(storage.session, "SELECT next_at <= now() AS due FROM cableway.schedulers WHERE name = 'rotten'")
    assert due == [{"due": True}]
    tick(storage.session)
    assert rows(storage.session, "SELECT name FROM cableway.schedulers WHERE error IS NOT NULL") == [
        {"name": "nowhere"}
    ]


@pytest.mark.fault("D9")
def test_what_nobody_foresaw_about_one_keeps_no_other_back(
    storage: DatabaseStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def plan(row: Any, *arguments: Any, **options: Any) -> TickPlan:
        if row["name"] == "odd":
            raise OverflowError("date value out of range")
        return plan_ticks(row, *arguments, **options)

    monkeypatch.setattr("cableway.stored.ticks.plan_ticks", plan)
    for name in ("odd", "good"):
        scheduler(storage, name)
    due_from(storage.session, NOON - MINUTE)
    decided = tick(storage.session, NOON)
    assert [each.scheduler for each in decided.fired] == ["good"]
    assert decided.faulty == ("odd",)
    assert "could not be reckoned" in caplog.text


@pytest.mark.parametrize("instant", ["infinity", "-infinity", "0044-03-15 BC", "20000-01-01"])
def test_times_that_no_program_has_words_for_are_not_stored(storage: DatabaseStorage, instant: str) -> None:
    scheduler(storage)
    for column in ("starts_at", "ends_at", "next_at", "decided_to"):
        with pytest.raises(psycopg.errors.CheckViolation):
            storage.session.connection().execute(f"UPDATE cableway.schedulers SET {column} = '{instant}'".encode())
    for year in (1, 9999):
        with pytest.raises(DefinitionError):
            storage.update_scheduler("hourly", starts_at=datetime(year, 1, 1, tzinfo=UTC))


@contextmanager
def sessions(settings: DatabaseSettings, number: int) -> Generator[Sequence[Session]]:
    made = [Session(settings) for _ in range(number)]
    try:
        yield made
    finally:
        for session in made:
            session.close()


def many(storage: DatabaseStorage, number: int, expression: str = "* * * * *") -> None:
    """Schedulers of one trigger, without asking for each."""
    storage.create_trigger("rule", "flights", expression)
    storage.session.connection().execute(
        """
        INSERT INTO cableway.schedulers (name, pipeline, trigger_name, parameters, timezone, dst_gap, catchup,
            catchup_window_s, max_catchup_runs, overlap, jitter_s, paused, pause_note)
        SELECT 'scheduler ' || n, 'flights', 'rule', '{}', 'UTC', 'run', 'all', 86400, 100, 'allow', 0, false, ''
        FROM generate_series(1, %s) AS n
        """,
        (number,),
    )


@pytest.mark.promise("P1")
@pytest.mark.fault("D1")
@pytest.mark.parametrize(
    ("schedulers", "number", "minutes"),
    [
        (2, 60, 10),
        (8, 60, 10),
        pytest.param(2, 1000, 30, marks=[pytest.mark.chaos, pytest.mark.timeout(600)]),
        pytest.param(8, 1000, 30, marks=[pytest.mark.chaos, pytest.mark.timeout(600)]),
    ],
)
def test_however_many_decide_each_tick_makes_one_run(
    storage: DatabaseStorage, schedulers: int, number: int, minutes: int
) -> None:
    many(storage, number)
    due_from(storage.session, NOON)
    together = threading.Barrier(schedulers)

    def work(session: Session) -> int:
        fired = 0
        for minute in range(1, minutes + 1):
            together.wait(120)
            while (decided := tick(session, NOON + MINUTE * minute, limit=number // 8)).schedulers:
                fired += len(decided.fired)
        return fired

    with sessions(storage.session.settings, schedulers) as made, ThreadPoolExecutor(schedulers) as threads:
        fired = sum(threads.map(work, made))
    counted = rows(
        storage.session,
        "SELECT count(*) AS runs, count(DISTINCT (scheduler_name, scheduled_at)) AS ticks FROM cableway.runs",
    )
    assert counted == [{"runs": number * minutes, "ticks": number * minutes}]
    assert fired == number * minutes


@pytest.mark.promise("P1")
def test_a_decision_that_is_not_committed_is_made_by_the_next_one(storage: DatabaseStorage) -> None:
    scheduler(storage)
    due_from(storage.session, NOON - MINUTE)
    with closing(Session(storage.session.settings)) as other:
        other.ensure_schema()
        other.connection().execute("BEGIN")
        assert len(other.drive(decide(other.settings, now=NOON)).fired) == 1
        assert tick(storage.session, NOON).schedulers == 0, "it is in another's hand"
        other.connection().execute("ROLLBACK")
    assert len(tick(storage.session, NOON).fired) == 1


@pytest.mark.fault("D12")
def test_thousands_due_at_once_are_decided_in_a_few_transactions(storage: DatabaseStorage) -> None:
    many(storage, 2 * BATCH, "0 * * * *")
    due_from(storage.session, NOON)
    with within(5):
        first = tick(storage.session, NOON + timedelta(hours=1))
        second = tick(storage.session, NOON + timedelta(hours=1))
    assert (len(first.fired), first.more, len(second.fired)) == (BATCH, True, BATCH)


def test_a_scheduler_can_be_run_now(storage: DatabaseStorage) -> None:
    scheduler(storage)
    recorded = storage.trigger_scheduler("hourly")
    run = storage.get_run(recorded.run_id).run
    assert (run.scheduler_name, run.trigger_name, run.scheduled_at) == ("hourly", "rule of hourly", None)
    assert storage.trigger_scheduler("hourly").run_id != recorded.run_id
    with pytest.raises(UnknownNameError):
        storage.trigger_scheduler("nobody")
    with pytest.raises(ParameterError):
        storage.trigger_scheduler("hourly", {"unknown": 1})


def test_a_backfill_runs_the_ticks_that_had_no_run(storage: DatabaseStorage) -> None:
    scheduler(storage)
    due_from(storage.session, NOON - MINUTE)
    tick(storage.session, NOON)
    span: dict[str, Any] = {"since": NOON - timedelta(hours=2), "until": NOON + timedelta(hours=2)}
    tried = storage.backfill_scheduler("hourly", **span, dry_run=True)
    assert [each.hour for each in tried.ticks] == [10, 11, 13]
    assert (tried.backfill_id, tried.run_ids, tried.already) == (None, (), 1)
    assert ran(storage.session) == ["01 12:00"]
    done = storage.backfill_scheduler("hourly", **span)
    assert (done.ticks, done.already, done.not_run) == (tried.ticks, 1, 0)
    assert ran(storage.session) == ["01 10:00", "01 11:00", "01 12:00", "01 13:00"]
    marked = rows(
        storage.session, "SELECT DISTINCT backfill_id::text AS id FROM cableway.runs WHERE backfill_id IS NOT NULL"
    )
    assert marked == [{"id": done.backfill_id}]
    again = storage.backfill_scheduler("hourly", **span)
    assert (again.backfill_id, again.ticks, again.already) == (None, (), 4)


@pytest.mark.promise("P17")
def test_a_backfill_leaves_the_cursor_where_it_is(storage: DatabaseStorage) -> None:
    load = {"file_path": "a.csv", "batch_size": 2, "incremental": {"cursor_field": "n"}}
    stage = {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": load}]}
    storage.save_pipeline({"name": "flights", "stages": [stage]})
    scheduler(storage)
    span: dict[str, Any] = {"since": NOON - timedelta(hours=2), "until": NOON}
    early = storage.backfill_scheduler("hourly", **span)
    later = storage.backfill_scheduler("hourly", since=NOON, until=NOON + timedelta(hours=1))
    run = storage.record_run(RunRequest(pipeline="flights"))
    with closing(PostgresRunStore(storage.session.settings)) as store:

        def taken(run_id: str) -> str:
            """The line that the run is on once it has begun and moved its cursor; then it has ended."""
            storage.session.connection().execute("UPDATE cableway.runs SET overlap = 'allow', has_place = true")
            claim = store.claim(run_id)
            assert isinstance(claim, Claimed)
            line = store.take_line(claim.lease, "rows")
            assert isinstance(line, TakenLine)
            store.checkpoint(claim.lease, {"lap": 0, "reached": {"last": 7}, "complete": True, "run_id": run_id})
            store.finish(claim.lease, RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={}))
            return line.line

        first, second = map(taken, early.run_ids)
        assert first == second
        others = {taken(later.run_ids[0]), taken(run.run_id)}
        assert len({first, *others}) == 3
    lines = {line.epoch: line for line in storage.list_lines("flights")}
    assert sorted(lines) == [-2, -1, 0]
    assert lines[-1].line == first
    assert lines[0].run_id == run.run_id
    assert storage.set_state("flights", 3).epoch == 1


def test_a_backfill_that_makes_no_sense_is_refused(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="* * * * *")
    for since, until, words in (
        (NOON, NOON, "after"),
        (NOON, datetime.now(UTC) + timedelta(days=1), "future"),
        (NOON, NOON + timedelta(days=1), "1440 ticks"),
    ):
        with pytest.raises(DefinitionError, match=words):
            storage.backfill_scheduler("hourly", since=since, until=until)
    assert ran(storage.session) == []


def test_what_was_decided_can_be_read(storage: DatabaseStorage) -> None:
    scheduler(storage, expression="*/10 * * * *")
    due_from(storage.session, NOON)
    tick(storage.session, NOON + timedelta(minutes=45))
    latest, missed = storage.list_ticks("hourly")
    assert (latest.reason, latest.count, latest.run_id is not None) == (None, 1, True)
    assert (missed.reason, missed.count, missed.run_id) == ("catchup_limit", 3, None)


@pytest.mark.parametrize("states", [["failed"] * 2, ["failed", "crashed", "timed_out"]])
def test_one_whose_runs_keep_failing_is_paused_and_can_be_resumed(storage: DatabaseStorage, states: list[str]) -> None:
    scheduler(storage, pause_after_failures=len(states))
    scheduler(storage, "bears more", pause_after_failures=len(states) + 1)

    def end(name: str, number: int, state: str) -> None:
        due = NOON + timedelta(hours=number)
        run = storage.record_run(RunRequest(pipeline="flights", scheduler_name=name, scheduled_at=due, overlap="allow"))
        storage.session.connection().execute(
            "UPDATE cableway.runs SET state = %s, ended_at = now() WHERE run_id = %s", (state, run.run_id)
        )

    for name in ("hourly", "bears more"):
        end(name, 0, "succeeded")
        for number, state in enumerate(states):
            assert storage.session.rows("pause_failing") == []
            end(name, number + 1, state)
        storage.session.rows("pause_failing")
    row = storage.get_scheduler("hourly")
    assert (row.paused, row.pause_note) == (True, f"its last {len(states)} runs failed")
    assert not storage.get_scheduler("bears more").paused
    storage.resume_scheduler("hourly")
    assert storage.session.rows("pause_failing") == []
