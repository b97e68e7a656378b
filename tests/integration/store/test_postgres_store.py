from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.store.heartbeat import Heartbeat
from cableway.store.port import Claimed, DeadLetter, RunResult, RunState, SpanRow
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import read_dead_letters, read_run, read_spans
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

SUCCESS = RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={"emitted": 1})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to the server."""
    seen: list[str] = []
    execute: Any = psycopg.Connection.execute

    def watched(self: Any, query: bytes, *args: Any, **options: Any) -> Any:
        if b"set_config('statement_timeout'" not in query:  # goes along in the same round trip
            seen.append(query.decode())
        return execute(self, query, *args, **options)

    monkeypatch.setattr(psycopg.Connection, "execute", watched)
    return seen


def claimed(store: PostgresRunStore, run_id: str) -> Claimed:
    claim = store.claim(run_id)
    assert isinstance(claim, Claimed)
    return claim


def test_a_run_that_does_nothing_is_two_round_trips(store: PostgresRunStore, run_id: str, sent: list[str]) -> None:
    lease = claimed(store, run_id).lease
    heartbeat = Heartbeat(lambda: store, lease, lambda: None, lambda: None)
    heartbeat.start()
    heartbeat.stop()
    store.finish(lease, SUCCESS)
    assert len(sent) == 4, "the claim has a lock and the taking before it, in the same round trip"


def test_nothing_is_prepared_so_that_a_pooler_may_stand_between(
    store: PostgresRunStore, run_id: str, session: Session
) -> None:
    lease = claimed(store, run_id).lease
    for _ in range(10):
        store.beat(lease)
    assert store.session.connection().execute("SELECT name FROM pg_prepared_statements").fetchall() == []


def test_what_postgres_would_refuse_is_stored_all_the_same(
    store: PostgresRunStore, run_id: str, session: Session
) -> None:
    lease = claimed(store, run_id).lease
    hostile = {"a\x00": ["\ud800", float("nan"), {1: object}], "n": 10**400}
    letter = DeadLetter(
        item_id="1\x00", stage="s", bloc="b", error_type="E", message="\ud800", stack="x\x00", payload=hostile
    )
    span = SpanRow(
        trace_id="t", span_id="s\x00", parent_span_id=None, name="\udfff", kind="item", start_ns=1, end_ns=2,
        status="error", attributes={"k": "\x00"}, events=[{"name": float("inf")}],
    )  # fmt: skip
    store.add_dead_letters(lease, [letter])
    store.add_spans(lease, [span])
    store.checkpoint(lease, {"at": "\x00"})
    problem = {"detail": "a\x00b \ud800"}
    store.finish(lease, RunResult(state=RunState.FAILED, exit_code=3, counts={}, problem=problem))
    found = session.drive(read_dead_letters(run_id))[0]
    assert (found.item_id, found.message, found.state) == ("1\ufffd", "?", "open")
    assert found.payload["n"] == 10**400
    assert session.drive(read_spans(run_id))[0].attributes == {"k": "\ufffd"}
    assert session.drive(read_run(run_id)).attempts[0].reason == "a\ufffdb ?"


def test_a_beat_goes_over_a_connection_of_its_own(state: DatabaseSettings, session: Session, run_id: str) -> None:
    with closing(PostgresRunStore(state)) as first, closing(PostgresRunStore(state, patience_s=0)) as second:
        lease = claimed(first, run_id).lease
        with first.session.transaction():
            first.session.rows("pipeline_names")
            assert second.beat(lease).cancel_requested is False


def test_a_document_comes_back_as_it_was_written(store: PostgresRunStore, session: Session) -> None:
    definition = pipeline("exact")
    config = {"z": 1, "a": 1e16, "half": 0.5, "text": "ä\u2028"}
    definition.stages[0].blocs[0].config.clear()
    definition.stages[0].blocs[0].config.update(config)
    store_version(session, definition)
    run = claimed(store, record_run(session, RunRequest(pipeline="exact")).run_id).run
    found = run.document["stages"][0]["blocs"][0]["config"]
    assert list(found.items()) == list(config.items())
    assert isinstance(found["a"], float)
    assert run.version_hash == definition.content_hash()
