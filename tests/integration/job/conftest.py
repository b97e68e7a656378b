from __future__ import annotations

import pytest

from cableway.settings import DatabaseSettings
from tests.fixtures.collector import collector
from tests.integration.job.process import State

__all__ = ["collector", "stored"]


@pytest.fixture
def stored(state: DatabaseSettings) -> State:
    """A fresh state database."""
    return State(state)
