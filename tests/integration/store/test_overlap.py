"""What becomes of a run while others of its pipeline are open: Postgres decides it, whoever asks at the same time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cableway.definition import Overlap, ParameterDefinition, RunSettings
from cableway.errors import OverlapError, ParameterError, UnknownPipelineError
from cableway.runs import Decision, RecordedRun, Refused, RunRequest, record_many, record_run
from cableway.settings import DatabaseSettings
from cableway.store.port import Claimed
from cableway.store.postgres import PostgresRunStore
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

TICK = datetime(2026, 3, 1, 7, tzinfo=UTC)


def define(session: Session, name: str = "flights", *, required: bool = False, **settings: object) -> None:
    definition = pipeline(name, customer=ParameterDefinition(type="string", required=required))
    changed = RunSettings(lease_ttl_s=60, **settings)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store_version(session, replace(definition, settings=changed))


def states(session: Session) -> list[str]:
    rows = session.connection().execute("SELECT state FROM cableway.runs ORDER BY created_at, run_id").fetchall()
    return [row["state"] for row in rows]


def kinds(decisions: list[Decision]) -> list[str]:
    return [type(decision).__name__ for decision in decisions]


def wish(overlap: Overlap | None = None, **facts: object) -> RunRequest:
    return RunRequest(pipeline="flights", overlap=overlap, **facts)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.promise("P7")
@pytest.mark.parametrize(("overlap", "made"), [("skip", 1), ("queue_one", 2), ("queue_all", 80), ("allow", 80)])
def test_racers_make_as_many_runs_as_the_policy_wants(
    session: Session, state: DatabaseSettings, overlap: Overlap, made: int
) -> None:
    define(session, overlap=overlap)

    def race(_: int) -> Counter[str]:
        with closing(Session(state)) as own:
            return Counter(kinds([each for _ in range(5) for each in record_many(own, [wish(), wish()])]))

    with ThreadPoolExecutor(8) as threads:
        counted = sum(threads.map(race, range(8)), Counter[str]())
    assert counted == Counter(RecordedRun=made, NotRun=80 - made) - Counter(NotRun=0)
    assert len(states(session)) == made


@pytest.mark.promise("P7")
def test_the_last_of_many_who_replace_is_left(session: Session, state: DatabaseSettings) -> None:
    define(session, overlap="replace")
    first = record_run(session, wish()).run_id
    with closing(PostgresRunStore(state)) as store:
        claim = store.claim(first)
        assert isinstance(claim, Claimed)

        def race(_: int) -> None:
            with closing(Session(state)) as own:
                record_many(own, [wish(), wish()])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(race, range(8)))
        assert Counter(states(session)) == {"cancelling": 1, "cancelled": 15, "queued": 1}
        assert store.beat(claim.lease).cancel_requested


def test_what_is_unset_skips_a_tick_and_keeps_all_else(session: Session) -> None:
    define(session)
    decisions = record_many(
        session, [wish(), wish(scheduled_at=TICK, key="t"), wish(), wish("queue_one", scheduled_at=TICK)]
    )
    assert kinds(decisions) == ["RecordedRun", "NotRun", "RecordedRun", "NotRun"]
    assert states(session) == ["queued", "queued"]


def test_a_set_policy_holds_for_all_who_do_not_bring_their_own(session: Session) -> None:
    define(session, overlap="skip")
    record_run(session, wish())
    with pytest.raises(OverlapError, match="'flights' has as many runs open"):
        record_run(session, wish())
    assert record_run(session, wish("allow")).created


def test_keys_are_limited_apart(session: Session) -> None:
    define(session, overlap="skip", concurrency=2, overlap_key="c-${param:customer}")
    decisions = record_many(session, [wish(parameters={"customer": name}) for name in "aabab"])
    assert kinds(decisions) == ["RecordedRun", "RecordedRun", "RecordedRun", "NotRun", "RecordedRun"]


def test_each_wish_of_many_is_answered_for_itself(session: Session) -> None:
    define(session, required=True, overlap="queue_all")
    given = {"customer": "x"}
    before = record_run(session, wish(parameters=given, key="k", trigger_name="h", body_hash="a")).run_id
    decisions = record_many(
        session,
        [
            wish(key="k", body_hash="a"),
            wish(key="k", body_hash="b", parameters=given),
            wish(key="new", parameters=given, trigger_name="h", body_hash="c"),
            wish(key="new", parameters=given, trigger_name="h", body_hash="d"),
            wish(key="lacking"),
            RunRequest(pipeline="nobody's"),
            wish(parameters=given),
        ],
    )
    assert decisions[:2] == [
        RecordedRun(run_id=before, created=False),
        RecordedRun(run_id=before, created=False, same_body=False),
    ]
    new, again, lacking, unknown, last = decisions[2:]
    assert isinstance(new, RecordedRun)
    assert isinstance(last, RecordedRun)
    assert again == RecordedRun(run_id=new.run_id, created=False, same_body=False)
    assert (new.created, last.created) == (True, True)
    assert isinstance(lacking, Refused)
    assert isinstance(unknown, Refused)
    assert isinstance(lacking.error, ParameterError)
    assert isinstance(unknown.error, UnknownPipelineError)
    assert len(states(session)) == 3


@pytest.mark.promise("P2")
def test_a_run_is_on_disk_before_it_is_told_whatever_the_server_does_by_default(session: Session) -> None:
    define(session)
    seen: list[str] = []
    connection = session.connection()
    connection.execute("SET synchronous_commit TO off")
    connection.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE NOTICE '%', current_setting('synchronous_commit'); RETURN NULL; END $$"
    )
    connection.execute("CREATE TRIGGER noted AFTER INSERT ON cableway.runs EXECUTE FUNCTION note()")
    connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
    record_run(session, wish())
    assert seen == ["on"]


def test_many_pipelines_take_a_fixed_number_of_round_trips(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"p{number}" for number in range(150)]
    for name in names:
        define(session, name)
    sent: list[str] = []
    rows = session.rows

    def counting(name: str, *rest: object, **parameters: object) -> object:
        sent.append(name)
        return rows(name, *rest, **parameters)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(session, "rows", counting)
    decisions = record_many(session, [RunRequest(pipeline=name, key="t", scheduled_at=TICK) for name in names])
    assert kinds(decisions) == ["RecordedRun"] * 150
    assert sent == ["active_versions", "record_runs"]
