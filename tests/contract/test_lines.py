"""What every run store promises about lines: who holds one, how far it is, and what failed on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from cableway.definition import RunSettings
from cableway.errors import LeaseLostError
from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.store.memory import MemoryRunStore
from cableway.store.port import Claimed, DeadLetter, DeadUnit, Held, RunResult, RunState, RunStore, TakenLine
from cableway.store.postgres import PostgresRunStore
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

FLIGHTS = replace(pipeline(), settings=RunSettings(overlap="allow", concurrency=9))


class InMemory:
    def __init__(self) -> None:
        self.now = 1000.0
        self.store: RunStore = MemoryRunStore(clock=lambda: self.now)

    def queue(self) -> str:
        assert isinstance(self.store, MemoryRunStore)
        return self.store.add_run(FLIGHTS)

    def expire(self, run_id: str) -> None:
        self.now += FLIGHTS.settings.lease_ttl_s + 1


class InPostgres:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.store: RunStore = PostgresRunStore(session.settings)
        store_version(session, FLIGHTS)

    def queue(self) -> str:
        return record_run(self.session, RunRequest(pipeline=FLIGHTS.name)).run_id

    def expire(self, run_id: str) -> None:
        statement = "UPDATE cableway.runs SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE run_id = %s"
        self.session.connection().execute(statement.encode(), [run_id])


Keeper = InMemory | InPostgres


@pytest.fixture(params=["memory", "postgres"])
def keeper(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    if request.param == "memory":
        yield InMemory()
        return
    settings: DatabaseSettings = request.getfixturevalue("state")
    with closing(Session(settings)) as session:
        kept = InPostgres(session)
        yield kept
        kept.store.close()


def claimed(keeper: Keeper, run_id: str | None = None) -> Claimed:
    claim = keeper.store.claim(run_id or keeper.queue())
    assert isinstance(claim, Claimed)
    return claim


def taken(keeper: Keeper, claim: Claimed) -> TakenLine:
    line = keeper.store.take_line(claim.lease, "load")
    assert isinstance(line, TakenLine)
    return line


def letter(item_id: str) -> DeadLetter:
    return DeadLetter(item_id=item_id, stage="work", bloc="clean", error_type="ValueError", message="no")


def ended(keeper: Keeper, claim: Claimed) -> None:
    keeper.store.finish(claim.lease, RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={}))


@pytest.mark.promise("P17")
def test_the_line_of_a_cursor_goes_on_in_the_next_run(keeper: Keeper) -> None:
    first = claimed(keeper)
    line = taken(keeper, first)
    assert line.cursor == {}
    assert line.line != first.run.line
    keeper.store.checkpoint(first.lease, {"position": "7"})
    ended(keeper, first)
    second = claimed(keeper)
    on = TakenLine(line=line.line, cursor={"position": "7"}, run_id=second.run.run_id)
    assert taken(keeper, second) == on


@pytest.mark.promise("P17")
def test_one_run_at_a_time_holds_the_line_of_a_cursor(keeper: Keeper) -> None:
    first, second = claimed(keeper), claimed(keeper)
    line = taken(keeper, first)
    busy = keeper.store.take_line(second.lease, "load")
    assert isinstance(busy, Held)
    assert 0 < busy.expires_in_s <= FLIGHTS.settings.lease_ttl_s
    assert isinstance(keeper.store.take_line(second.lease, "another"), TakenLine)
    keeper.expire(first.run.run_id)
    second = claimed(keeper)
    assert taken(keeper, second).line == line.line


@pytest.mark.promise("P17")
def test_a_later_attempt_stays_on_the_line_and_a_stale_one_takes_none(keeper: Keeper) -> None:
    stale = claimed(keeper)
    line = taken(keeper, stale)
    keeper.expire(stale.run.run_id)
    current = claimed(keeper, stale.run.run_id)
    assert current.run.line == line.line
    assert taken(keeper, current).line == line.line
    with pytest.raises(LeaseLostError):
        keeper.store.take_line(stale.lease, "load")


@pytest.mark.promise("P17")
def test_what_failed_on_a_line_is_known_to_whoever_is_on_it(keeper: Keeper) -> None:
    first = claimed(keeper)
    taken(keeper, first)
    keeper.store.add_dead_letters(first.lease, [letter("0~a"), letter("1~a")])
    ended(keeper, first)
    second, other = claimed(keeper), claimed(keeper)
    taken(keeper, second)
    assert keeper.store.dead_units(second.lease, "1~") == {DeadUnit("work", "clean", "1~a", resolved=False, own=False)}
    assert len(keeper.store.dead_units(second.lease, "")) == 2
    assert keeper.store.dead_units(other.lease, "") == set[Any]()


def test_a_stale_attempt_neither_shares_out_nor_moves_the_cursor_of_a_whole(keeper: Keeper) -> None:
    stale = claimed(keeper)
    keeper.expire(stale.run.run_id)
    claimed(keeper, stale.run.run_id)
    for ask in (
        lambda: keeper.store.take_share(stale.lease, [{}], {}),
        lambda: keeper.store.whole_line(stale.lease),
        lambda: keeper.store.part_cursors(stale.lease),
        lambda: keeper.store.close_whole(stale.lease, {"complete": True}),
    ):
        with pytest.raises(LeaseLostError):
            ask()
