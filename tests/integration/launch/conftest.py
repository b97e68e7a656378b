from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cableway.definition import RunSettings
from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings
from cableway.store.port import Claimed, Lease, RunResult, RunState
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import RunDetails, read_run
from cableway.store.session import Session
from cableway_handlers.launch import Sweep
from tests.fixtures.state import pipeline, store_version
from tests.integration.launch.launchers import Pretender


@dataclass
class Town:
    """A database with runs, somebody who sweeps, and somebody who works."""

    session: Session
    launcher: Pretender
    sweep: Sweep
    store: PostgresRunStore

    def define(self, name: str = "flights", **settings: Any) -> None:
        facts: dict[str, Any] = {"lease_ttl_s": 60, **settings}
        store_version(self.session, replace(pipeline(name), settings=RunSettings(**facts)))

    def record(self, name: str = "flights", **facts: Any) -> str:
        return record_run(self.session, RunRequest(pipeline=name, **facts)).run_id

    def seen(self, run_id: str) -> RunDetails:
        return self.session.drive(read_run(run_id))

    def states(self, *run_ids: str) -> list[str]:
        return [self.seen(run_id).run.state.value for run_id in run_ids]

    def attempts(self, run_id: str) -> list[tuple[int, str, str | None]]:
        return [(each.attempt, each.state, each.reason) for each in self.seen(run_id).attempts]

    def claim(self, run_id: str) -> Lease:
        claim = self.store.claim(run_id)
        assert isinstance(claim, Claimed), claim
        return claim.lease

    def finish(self, lease: Lease, state: RunState = RunState.SUCCEEDED, exit_code: int = 0, **facts: Any) -> None:
        self.store.finish(lease, RunResult(state=state, exit_code=exit_code, counts={}, **facts))

    def change(self, what: str, run_id: str) -> None:
        """Have the database think that something is so: the test's clock."""
        self.session.connection().execute(f"UPDATE cableway.runs SET {what} WHERE run_id = %s".encode(), [run_id])

    def expire(self, run_id: str) -> None:
        self.change("lease_expires_at = clock_timestamp() - interval '1 second'", run_id)

    def ready(self, run_id: str) -> None:
        """Have waited long enough for the next attempt."""
        self.change("not_before = NULL", run_id)


@pytest.fixture
def town(session: Session, state: DatabaseSettings) -> Iterator[Town]:
    launcher = Pretender()
    with closing(Sweep(state, launcher)) as sweep, closing(PostgresRunStore(state)) as store:
        yield Town(session, launcher, sweep, store)
