"""A storage with four blocs that make a pipeline, two of which stand side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cableway.settings import DatabaseSettings, Settings
from cableway.storage import DatabaseStorage

STAGES = [["read"], ["double", "triple"], ["write"]]


@pytest.fixture
def storage(state: DatabaseSettings) -> Iterator[DatabaseStorage]:
    with DatabaseStorage.from_settings(Settings(database=state)) as storage:
        yield storage


@pytest.fixture
def blocs(storage: DatabaseStorage) -> None:
    storage.create_bloc("read", "csv_loader", config={"file_path": "data.csv"})
    storage.create_bloc("double", "example_transformer", config={"factor": 2})
    storage.create_bloc("triple", "example_transformer", config={"factor": 3})
    storage.create_bloc("write", "postgres_exporter", config={"table_name": "out", "source_bloc": "double"})


def document(**changes: Any) -> dict[str, Any]:
    return {"name": "numbers", "stages": STAGES, **changes}
