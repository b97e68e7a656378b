from __future__ import annotations

from collections.abc import Iterator

import pytest

from cableway.settings import DatabaseSettings
from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import FaultProxy, fault_proxy
from tests.integration.faults.process import Processes
from tests.integration.job.process import State


@pytest.fixture
def stored(state: DatabaseSettings) -> State:
    """A fresh state database."""
    return State(state)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts jobs, and leaves none behind."""
    started = Processes()
    yield started
    started.end()


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultProxy]:
    """What stands between a job and its Postgres."""
    with fault_proxy(postgres.socket_folder) as proxy:
        yield proxy
