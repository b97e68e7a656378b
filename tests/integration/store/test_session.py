"""What a broken connection does to the store: it is made again, and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest

from cableway.errors import LeaseLostError, UnavailableError
from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.store.executor import Executor, Row, Step
from cableway.store.port import Claimed, DeadLetter, RunResult, RunState, SpanRow
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import read_dead_letters, read_run, read_runs
from cableway.store.session import Session
from tests.fixtures.postgres import running_postgres
from tests.fixtures.state import pipeline, store_version

SUCCESS = RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={"emitted": 1})


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lose the next answer to a statement: it was done, and nobody hears of it."""
    doomed: list[str] = []
    rows = Executor.rows

    def lossy(self: Executor, name: str, before: Sequence[Step] = (), /, **parameters: Any) -> list[Row]:
        answer = rows(self, name, before, **parameters)
        if name in doomed:
            doomed.remove(name)
            self.connection.close()
            raise UnavailableError("the answer was lost")
        return answer

    monkeypatch.setattr(Executor, "rows", lossy)
    return doomed.append


def terminate_all(session: Session) -> None:
    session.connection().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.fault("C2")
def test_a_terminated_connection_is_made_again_at_every_call(
    session: Session, store: PostgresRunStore, run_id: str
) -> None:
    assert not isinstance(store.session.rows("pipeline_names"), UnavailableError)
    terminate_all(session)
    claim = store.claim(run_id)
    assert isinstance(claim, Claimed)
    letter = DeadLetter(item_id="1", stage="s", bloc="b", error_type="E", message="m")
    span = SpanRow(
        trace_id="t", span_id="s", parent_span_id=None, name="n", kind="run", start_ns=1, end_ns=2, status="ok",
        attributes={},
    )  # fmt: skip
    for call in (
        lambda: store.beat(claim.lease),
        lambda: store.checkpoint(claim.lease, {"position": 1}),
        lambda: store.add_dead_letters(claim.lease, [letter]),
        lambda: store.add_spans(claim.lease, [span]),
        lambda: store.finish(claim.lease, SUCCESS),
    ):
        terminate_all(session)
        call()
    assert session.drive(read_run(run_id)).run.state is RunState.SUCCEEDED
    assert len(session.drive(read_dead_letters(run_id))) == 1


@pytest.mark.fault("C5")
def test_a_claim_whose_answer_was_lost_is_still_ours(
    store: PostgresRunStore, run_id: str, losing: Callable[[str], None]
) -> None:
    losing("claim")
    claim = store.claim(run_id)
    assert isinstance(claim, Claimed)
    assert claim.lease.attempt == 1
    store.beat(claim.lease)


@pytest.mark.fault("C5")
def test_an_outcome_whose_answer_was_lost_is_written_once(
    session: Session, store: PostgresRunStore, run_id: str, losing: Callable[[str], None]
) -> None:
    claim = store.claim(run_id)
    assert isinstance(claim, Claimed)
    losing("finish")
    store.finish(claim.lease, SUCCESS)
    assert [each.state for each in session.drive(read_run(run_id)).attempts] == ["succeeded"]


@pytest.mark.parametrize("key", [None, "tick"])
@pytest.mark.fault("C5")
def test_a_run_whose_answer_was_lost_is_recorded_once(
    session: Session, run_id: str, losing: Callable[[str], None], key: str | None
) -> None:
    losing("record_plain_runs")
    recorded = record_run(session, RunRequest(pipeline="flights", key=key))
    assert recorded.created
    assert {run.run_id for run in session.drive(read_runs())} == {run_id, recorded.run_id}


def test_inside_a_transaction_nothing_is_sent_again(session: Session, run_id: str) -> None:
    def lock_and_ask(other: Session) -> None:
        with other.transaction():
            other.rows("lock_pipeline", pipeline="flights")
            terminate_all(session)
            other.rows("pipeline_names")

    with closing(Session(session.settings)) as other:
        with pytest.raises(UnavailableError):
            lock_and_ask(other)
        assert other.rows("pipeline_names") == [{"name": "flights"}]


@pytest.mark.fault("C11")
@pytest.mark.parametrize("code", ["40P01", "40001"])
def test_a_deadlock_is_tried_again(session: Session, store: PostgresRunStore, run_id: str, code: str) -> None:
    claim = store.claim(run_id)
    assert isinstance(claim, Claimed)
    statements = (
        "CREATE SEQUENCE tries; "
        "CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'again' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER twice BEFORE UPDATE ON cableway.runs FOR EACH ROW EXECUTE FUNCTION twice()"
    )
    session.connection().execute(statements.encode())
    assert store.beat(claim.lease).cancel_requested is False


def test_a_bug_of_ours_is_not_taken_for_an_outage(session: Session) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        session.rows("attempts", run_id="nonsense")


@pytest.mark.promise("P19")
@pytest.mark.fault("C3")
def test_a_server_that_was_away_for_a_while_is_waited_for() -> None:
    with running_postgres() as server:
        settings = DatabaseSettings(url=server.conninfo(), connect_budget_s=20)
        with closing(PostgresRunStore(settings)) as store, closing(Session(settings, patience_s=0)) as hasty:
            store.session.ensure_schema()
            store_version(store.session, pipeline())
            run_id = record_run(store.session, RunRequest(pipeline="flights")).run_id
            claim = store.claim(run_id)
            assert isinstance(claim, Claimed)
            hasty.rows("pipeline_names")
            server.stop("immediate")
            with pytest.raises(UnavailableError, match="lost"):
                hasty.rows("pipeline_names")
            starting = threading.Timer(0.3, server.start)
            starting.start()
            store.finish(claim.lease, SUCCESS)
            starting.join()
            assert hasty.rows("pipeline_names") == [{"name": "flights"}]
            with pytest.raises(LeaseLostError):
                store.beat(claim.lease)
