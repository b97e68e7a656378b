"""Schedulers that are made due by hand, since no test waits for a minute to pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cableway.definition import RunSettings
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests.fixtures.state import pipeline, store_version


class Schedules:
    """A database with the pipeline ``flights``, and what is due in it."""

    def __init__(self, storage: DatabaseStorage) -> None:
        self.storage = storage

    def add(self, name: str = "hourly", expression: str = "0 * * * *") -> None:
        """A scheduler, looked at already, and never due of itself as long as a test lasts."""
        self.storage.create_trigger(name, "flights", expression)
        self.storage.create_scheduler(name, "flights", name, overlap="allow")
        self._write(f"UPDATE cableway.schedulers SET next_at = NULL WHERE name = '{name}'")

    def make_due(self, name: str = "hourly", in_s: float = 0.0) -> None:
        """As if nobody had looked for an hour, and were to look in so many seconds."""
        self._write(
            f"UPDATE cableway.schedulers SET decided_to = now() - interval '1 hour', "
            f"next_at = now() + interval '{in_s} s' WHERE name = '{name}'"
        )

    def tell(self) -> None:
        """What whoever changes a scheduler says to those who listen."""
        self.storage.session.rows("tell_change")

    def runs(self) -> int:
        """How many runs there are."""
        return len(self.storage.list_runs(limit=1000))

    def _write(self, text: str) -> None:
        self.storage.session.connection().execute(text.encode())


@pytest.fixture
def schedules(state: DatabaseSettings) -> Iterator[Schedules]:
    with DatabaseStorage(state) as storage:
        store_version(storage.session, replace(pipeline("flights"), settings=RunSettings()))
        yield Schedules(storage)
