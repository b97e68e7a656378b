"""Limits that runs share: what several processes' worth of runs may do at a time, and in a period."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cableway.definition import RunSettings
from cableway.errors import DefinitionError, UnknownNameError
from cableway.flow.leftovers import Leftovers
from cableway.flow.turnstile import enter_all, leave_all
from cableway.running.shared_limits import SharedLimits
from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.port import Claimed, Lease, RunResult, RunState
from cableway.store.postgres import PostgresRunStore
from tests.fixtures.state import pipeline, store_version


@pytest.fixture
def storage(state: DatabaseSettings) -> Iterator[DatabaseStorage]:
    with DatabaseStorage(state) as storage:
        store_version(storage.session, replace(pipeline(), settings=RunSettings(overlap="allow")))
        yield storage


def begun(storage: DatabaseStorage, store: PostgresRunStore) -> Lease:
    claim = store.claim(record_run(storage.session, RunRequest(pipeline="flights")).run_id)
    assert isinstance(claim, Claimed)
    return claim.lease


def test_limits_are_set_listed_and_forgotten(storage: DatabaseStorage) -> None:
    storage.set_limit("crm", concurrency=3)
    changed = storage.set_limit("crm", rate=10, period_s=60)
    assert (changed.concurrency, changed.rate, changed.period_s) == (None, 10, 60)
    assert [limit.name for limit in storage.list_limits()] == ["crm"]
    storage.delete_limit("crm")
    with pytest.raises(UnknownNameError):
        storage.delete_limit("crm")
    with pytest.raises(DefinitionError) as caught:
        storage.set_limit("a/b", concurrency=0, rate=-1, period_s=0)
    assert [fault.pointer for fault in caught.value.faults] == ["/name", "/concurrency", "/rate", "/period_s"]
    with pytest.raises(DefinitionError, match="give a concurrency"):
        storage.set_limit("crm")


def test_a_limit_that_is_not_there_is_named(storage: DatabaseStorage, store: PostgresRunStore) -> None:
    with pytest.raises(UnknownNameError, match="no limit 'crm'"):
        store.draw(begun(storage, store), "crm", slots=1, in_use=0, starts=1)


def test_places_are_shared_and_come_back_with_the_lease(storage: DatabaseStorage, store: PostgresRunStore) -> None:
    storage.set_limit("crm", concurrency=5)
    first, second, third = [begun(storage, store) for _ in range(3)]
    assert store.draw(first, "crm", slots=3, in_use=0, starts=1).slots == 3
    assert store.draw(second, "crm", slots=3, in_use=0, starts=1).slots == 2
    assert store.draw(third, "crm", slots=3, in_use=0, starts=1).slots == 0
    assert storage.list_limits()[0].slots_taken == 5
    assert store.draw(first, "crm", slots=1, in_use=1, starts=0).slots == 1
    assert store.draw(third, "crm", slots=3, in_use=0, starts=1).slots == 2
    store.finish(first, RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={}))
    storage.session.connection().execute(
        "UPDATE cableway.runs SET lease_expires_at = now() - interval '1 s' WHERE run_id = %s", [second.run_id]
    )
    assert store.draw(third, "crm", slots=9, in_use=2, starts=1).slots == 5
    storage.set_limit("crm", concurrency=1)
    assert store.draw(third, "crm", slots=9, in_use=4, starts=1).slots == 4  # what is at work stays


def test_starts_grow_with_the_databases_clock(storage: DatabaseStorage, store: PostgresRunStore) -> None:
    storage.set_limit("crm", rate=10, period_s=60)
    first, second = begun(storage, store), begun(storage, store)
    assert store.draw(first, "crm", slots=1, in_use=0, starts=8).starts == 8
    drawn = store.draw(second, "crm", slots=1, in_use=0, starts=8)
    assert drawn.starts == 2
    assert 5 < drawn.next_start_s <= 6
    storage.session.connection().execute("UPDATE cableway.limits SET filled_at = filled_at - interval '30 s'")
    assert store.draw(first, "crm", slots=1, in_use=0, starts=8).starts == 5


async def test_units_of_several_runs_stay_within_the_concurrency(
    storage: DatabaseStorage, store: PostgresRunStore, state: DatabaseSettings
) -> None:
    storage.set_limit("crm", concurrency=3)
    at_work, most = 0, 0

    async def unit(limits: SharedLimits) -> None:
        nonlocal at_work, most
        turnstiles = limits.turnstiles(["crm"])
        await enter_all(turnstiles)
        at_work += 1
        most = max(most, at_work)
        for _ in range(3):
            await asyncio.sleep(0)
        at_work -= 1
        leave_all(turnstiles)

    runs = [SharedLimits(lambda: PostgresRunStore(state), begun(storage, store)) for _ in range(3)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(unit(limits) for limits in runs for _ in range(200)))
    for limits in runs:
        await limits.close()
    assert (at_work, most <= 3, most >= 2) == (0, True, True)


async def test_units_of_several_runs_stay_within_the_rate_and_few_cost_a_query(
    storage: DatabaseStorage, store: PostgresRunStore, state: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.set_limit("crm", rate=200, period_s=1)
    drawn: list[str] = []
    draw = PostgresRunStore.draw

    def counting(self: PostgresRunStore, lease: Lease, limit: str, **wanted: int) -> object:
        drawn.append(limit)
        return draw(self, lease, limit, **wanted)

    monkeypatch.setattr(PostgresRunStore, "draw", counting)

    async def unit(limits: SharedLimits) -> None:
        turnstiles = limits.turnstiles(["crm"])
        await enter_all(turnstiles)
        leave_all(turnstiles)

    runs = [SharedLimits(lambda: PostgresRunStore(state), begun(storage, store)) for _ in range(2)]
    begun_at = time.monotonic()
    async with asyncio.timeout(20):
        await asyncio.gather(*(unit(limits) for limits in runs for _ in range(200)))
    took_s = time.monotonic() - begun_at
    for limits in runs:
        await limits.close()
    assert took_s >= 0.9, "200 at once, and 200 in the second after it"
    assert len(drawn) < 200


async def test_who_gives_up_waiting_takes_nothing(
    storage: DatabaseStorage, store: PostgresRunStore, state: DatabaseSettings
) -> None:
    storage.set_limit("crm", concurrency=1)
    limits = SharedLimits(lambda: PostgresRunStore(state), begun(storage, store))
    (turnstile,) = limits.turnstiles(["crm"])
    await turnstile.enter()
    waiting = asyncio.create_task(turnstile.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    turnstile.leave()
    async with asyncio.timeout(10):
        await turnstile.enter()
    await limits.close()


async def test_what_draws_is_no_task_that_a_handler_left(
    storage: DatabaseStorage, store: PostgresRunStore, state: DatabaseSettings, caplog: pytest.LogCaptureFixture
) -> None:
    storage.set_limit("crm", concurrency=1)
    limits = SharedLimits(lambda: PostgresRunStore(state), begun(storage, store))
    (turnstile,) = limits.turnstiles(["crm"])
    leftovers = Leftovers()
    leftovers.mark()
    async with asyncio.timeout(10):
        await turnstile.enter()
    leftovers.tell()
    assert "have left" not in caplog.text
    turnstile.leave()
    await limits.close()
