"""Claims that come while the attempt before is still writing: each goes on from what that one has kept last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest

from cableway.definition import RunSettings
from cableway.errors import LeaseLostError
from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.store.port import Claimed, Held, TakenLine
from cableway.store.postgres import PostgresRunStore
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

FLIGHTS = replace(pipeline(), settings=RunSettings(overlap="allow", concurrency=9))
LATE = {"position": "0:40:2", "counts": {"emitted": 40}}
WAIT_S = 20.0


class Race:
    """Stores with connections of their own, and a thread for whoever has to wait."""

    def __init__(self, settings: DatabaseSettings, stack: ExitStack) -> None:
        self.settings = settings
        self._stack = stack
        self._pool = stack.enter_context(ThreadPoolExecutor(4))
        self.session = stack.enter_context(closing(Session(settings)))
        store_version(self.session, FLIGHTS)

    def store(self) -> PostgresRunStore:
        return self._stack.enter_context(closing(PostgresRunStore(self.settings)))

    def queue(self) -> str:
        return record_run(self.session, RunRequest(pipeline=FLIGHTS.name)).run_id

    def expire(self, run_id: str) -> None:
        statement = "UPDATE cableway.runs SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE run_id = %s"
        self.session.connection().execute(statement.encode(), [run_id])

    def blocked(self, ask: Callable[[], Any], many: int = 1) -> list[Future[Any]]:
        """*ask*, in threads, once each of them waits for a lock."""
        asked = [self._pool.submit(ask) for _ in range(many)]
        by = time.monotonic() + WAIT_S
        waiting = (
            "SELECT count(*)::int AS count FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while (row := self.session.connection().execute(waiting.encode()).fetchone()) is None or row["count"] < many:
            assert time.monotonic() < by, "nobody waits"
            threading.Event().wait(0.01)
        return asked


@pytest.fixture
def race(state: DatabaseSettings) -> Iterator[Race]:
    with ExitStack() as stack:
        yield Race(state, stack)


def claimed(answer: object) -> Claimed:
    assert isinstance(answer, Claimed), answer
    return answer


@pytest.mark.promise("P17")
@pytest.mark.fault("B12")
@pytest.mark.parametrize("prepares", [False, True])
def test_a_claim_that_waits_for_a_checkpoint_goes_on_from_it(race: Race, *, prepares: bool) -> None:
    race.settings = replace(race.settings, prepare_threshold=5 if prepares else None)
    run_id, first, second = race.queue(), race.store(), race.store()
    lease = claimed(first.claim(run_id)).lease
    first.checkpoint(lease, {"position": "0:8:1"})
    race.expire(run_id)
    with first.session.transaction():
        first.checkpoint(lease, LATE)
        (waiting,) = race.blocked(lambda: second.claim(run_id))
    taken = claimed(waiting.result(WAIT_S))
    assert (taken.lease.attempt, taken.run.cursor) == (2, LATE)
    with pytest.raises(LeaseLostError):
        first.checkpoint(lease, {"position": "0:80:4"})
    race.expire(run_id)
    assert claimed(race.store().claim(run_id)).run.cursor == LATE


@pytest.mark.promise("P17")
def test_a_claim_that_waits_for_a_beat_is_told_that_the_run_is_held(race: Race) -> None:
    run_id, first, second = race.queue(), race.store(), race.store()
    lease = claimed(first.claim(run_id)).lease
    race.expire(run_id)
    with first.session.transaction():
        first.beat(lease)
        (waiting,) = race.blocked(lambda: second.claim(run_id))
    assert isinstance(waiting.result(WAIT_S), Held)
    first.checkpoint(lease, LATE)


@pytest.mark.promise("P4")
@pytest.mark.promise("P17")
def test_of_many_who_wait_for_it_one_goes_on_from_the_last_checkpoint(race: Race) -> None:
    run_id, first = race.queue(), race.store()
    lease = claimed(first.claim(run_id)).lease
    race.expire(run_id)
    with first.session.transaction():
        first.checkpoint(lease, LATE)
        waiting = race.blocked(lambda: race.store().claim(run_id), 4)
    answers = [each.result(WAIT_S) for each in waiting]
    (won,) = [answer for answer in answers if isinstance(answer, Claimed)]
    assert (won.lease.attempt, won.run.cursor) == (2, LATE)
    assert sum(isinstance(answer, Held) for answer in answers) == 3


@pytest.mark.promise("P17")
def test_who_waits_for_a_line_takes_it_where_its_holder_has_left_it(race: Race) -> None:
    first, second = race.store(), race.store()
    run_id = race.queue()
    lease = claimed(first.claim(run_id)).lease
    taken = first.take_line(lease, "load")
    assert isinstance(taken, TakenLine)
    other = claimed(second.claim(race.queue())).lease
    race.expire(run_id)
    with first.session.transaction():
        first.checkpoint(lease, LATE)
        (waiting,) = race.blocked(lambda: second.take_line(other, "load"))
    found = waiting.result(WAIT_S)
    assert (found.line, found.cursor) == (taken.line, LATE)
