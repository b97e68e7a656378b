"""A store and a storage; for this one four blocs that make a pipeline, two of which stand side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cableway.runs import RunRequest, record_run
from cableway.settings import DatabaseSettings, Settings
from cableway.storage import DatabaseStorage
from cableway.store.postgres import PostgresRunStore
from cableway.store.session import Session
from tests.fixtures.state import pipeline, store_version

STAGES = [["read"], ["double", "triple"], ["write"]]


@pytest.fixture
def storage(state: DatabaseSettings) -> Iterator[DatabaseStorage]:
    with DatabaseStorage.from_settings(Settings(database=state)) as storage:
        yield storage


@pytest.fixture
def store(state: DatabaseSettings) -> Iterator[PostgresRunStore]:
    with closing(PostgresRunStore(state)) as store:
        yield store


@pytest.fixture
def run_id(session: Session) -> str:
    """A run that nobody has claimed."""
    store_version(session, pipeline())
    return record_run(session, RunRequest(pipeline="flights")).run_id


@pytest.fixture
def blocs(storage: DatabaseStorage) -> None:
    storage.create_bloc("read", "csv_loader", config={"file_path": "data.csv"})
    storage.create_bloc("double", "example_transformer", config={"factor": 2})
    storage.create_bloc("triple", "example_transformer", config={"factor": 3})
    storage.create_bloc("write", "postgres_exporter", config={"table_name": "out", "source_bloc": "double"})


def document(**changes: Any) -> dict[str, Any]:
    return {"name": "numbers", "stages": STAGES, **changes}
