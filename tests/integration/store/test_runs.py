from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from cableway.definition import ParameterDefinition, RunSettings
from cableway.errors import ParameterError, UnknownPipelineError, UnknownRunError
from cableway.runs import RunRequest, record_run, record_run_async
from cableway.settings import DatabaseSettings
from cableway.store.connect import connect_async
from cableway.store.executor import AsyncExecutor
from cableway.store.port import Claimed, RunState
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import read_dead_letters, read_run, read_runs, read_spans
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

FLIGHTS = pipeline(day=ParameterDefinition(required=True), limit=ParameterDefinition(type="integer", default=5))
TICK = datetime(2026, 3, 1, 7, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def stored(session: Session) -> None:
    store_version(session, FLIGHTS)


def request(**facts: object) -> RunRequest:
    return replace(RunRequest(pipeline="flights", parameters={"day": "2013-01-01"}), **facts)  # type: ignore[arg-type]


def count(session: Session) -> int:
    return len(session.drive(read_runs(limit=1000)))


def test_a_run_is_queued_with_all_that_was_said(session: Session) -> None:
    recorded = record_run(
        session,
        request(
            texts={"limit": "7"},
            key="hourly/2026-03-01T07:00Z",
            scheduler_name="hourly",
            trigger_name="every_hour",
            scheduled_at=TICK,
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    )
    run = session.drive(read_run(recorded.run_id)).run
    assert recorded.created
    assert (run.state, run.version, run.attempt) == (RunState.QUEUED, 1, 0)
    assert run.parameters == {"day": "2013-01-01", "limit": 7}
    assert (run.scheduler_name, run.trigger_name, run.scheduled_at) == ("hourly", "every_hour", TICK)
    assert (run.started_at, run.ended_at, run.duration_s) == (None, None, None)
    with closing(PostgresRunStore(session.settings)) as store:
        claim = store.claim(recorded.run_id)
    assert isinstance(claim, Claimed)
    assert claim.run.scheduled_at == "2026-03-01T07:00:00.000000Z"
    assert claim.run.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.promise("P1")
def test_however_many_hear_an_event_there_is_one_run(session: Session, state: DatabaseSettings) -> None:
    def hear(key: str) -> list[tuple[str, bool]]:
        with closing(Session(state)) as own:
            recorded = [record_run(own, request(key=f"{key}-{number}")) for number in range(10)]
            return [(run.run_id, run.created) for run in recorded]

    with ThreadPoolExecutor(8) as threads:
        heard = list(threads.map(hear, ["tick"] * 8))
    for same in zip(*heard, strict=True):
        assert len({run_id for run_id, _ in same}) == 1
        assert [created for _, created in same].count(True) == 1
    assert count(session) == 10


@pytest.mark.promise("P3")
def test_the_same_delivery_makes_one_run_and_another_body_is_noticed(session: Session) -> None:
    first = record_run(session, request(key="d1", trigger_name="hook", body_hash="aa"))
    again = record_run(session, request(key="d1", trigger_name="hook", body_hash="aa"))
    other = record_run(session, request(key="d1", trigger_name="hook", body_hash="bb", parameters={"day": "x"}))
    assert first.created
    assert (again.run_id, again.created, again.same_body) == (first.run_id, False, True)
    assert (other.run_id, other.created, other.same_body) == (first.run_id, False, False)
    assert count(session) == 1


def test_what_does_not_fit_leaves_nothing(session: Session) -> None:
    with pytest.raises(ParameterError, match=r"/parameters/day: is required; /parameters/limit: must be an integer"):
        record_run(session, RunRequest(pipeline="flights", parameters={"limit": "7"}))
    for key in ("", "k" * 600, "a\x00b"):
        with pytest.raises(ParameterError, match="key"):
            record_run(session, request(key=key))
    with pytest.raises(UnknownPipelineError, match=r"no pipeline 'fligths'; there are: flights") as caught:
        record_run(session, request(pipeline="fligths"))
    assert caught.value.exit_code == 78
    with pytest.raises(UnknownPipelineError):
        record_run(session, request(pipeline="\x00\ud800"))
    assert count(session) == 0


def test_an_archived_pipeline_runs_no_more(session: Session) -> None:
    session.connection().execute("UPDATE cableway.pipelines SET archived_at = now()")
    with pytest.raises(UnknownPipelineError, match="archived"):
        record_run(session, request())


def test_a_run_stays_with_its_version(session: Session) -> None:
    before = record_run(session, request()).run_id
    store_version(session, replace(FLIGHTS, settings=RunSettings(lease_ttl_s=3, concurrency=9)), version=2)
    after = record_run(session, request()).run_id
    with closing(PostgresRunStore(session.settings)) as store:
        claims = [store.claim(run_id) for run_id in (before, after)]
    facts = [(each.run.version, each.lease.ttl_s) for each in claims if isinstance(each, Claimed)]
    assert facts == [(1, 60), (2, 3)]


def test_a_callers_transaction_decides(session: Session) -> None:
    def record_and_fail() -> None:
        with session.transaction():
            record_run(session, request(key="k"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        record_and_fail()
    assert count(session) == 0


async def test_a_program_with_a_loop_does_the_same(session: Session, state: DatabaseSettings) -> None:
    async with await connect_async(state) as connection:
        executor = AsyncExecutor(connection, state)
        async with executor.transaction():
            first = await record_run_async(executor, request(key="k"))
        again = await record_run_async(executor, request(key="k"))
        with pytest.raises(ParameterError):
            await record_run_async(executor, request(parameters={}))
        details = await executor.drive(read_run(first.run_id))
    assert (first.created, again.created, again.run_id) == (True, False, first.run_id)
    assert details.run == session.drive(read_run(first.run_id)).run


def test_runs_are_listed_newest_first(session: Session) -> None:
    store_version(session, pipeline("other"))
    ids = [record_run(session, request()).run_id for _ in range(3)]
    other = record_run(session, RunRequest(pipeline="other")).run_id
    with closing(PostgresRunStore(session.settings)) as store:
        store.claim(ids[0])
    assert [run.run_id for run in session.drive(read_runs())] == [other, *reversed(ids)]
    assert [run.run_id for run in session.drive(read_runs(pipeline="flights", limit=2))] == [ids[2], ids[1]]
    assert [run.run_id for run in session.drive(read_runs(state=RunState.RUNNING))] == [ids[0]]


def test_there_is_nothing_of_a_run_that_is_not_there(session: Session) -> None:
    for run_id in ("nonsense", "01a1ff6e-3845-7665-876d-4224aee43cbb"):
        with pytest.raises(UnknownRunError):
            session.drive(read_run(run_id))
        assert session.drive(read_dead_letters(run_id)) == ()
        assert session.drive(read_spans(run_id)) == ()


def test_the_database_itself_refuses_states_that_make_no_sense(session: Session) -> None:
    record_run(session, request())
    for change in (
        "state = 'flying'",
        "state = 'running'",
        "state = 'succeeded'",
        "state = 'failed', ended_at = now(), lease_expires_at = now()",
        "part = 1",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            session.connection().execute(f"UPDATE cableway.runs SET {change}".encode())
