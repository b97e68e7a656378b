"""The API's description is true, and no input ends in a 500: the fuzzer looks for a minute, with keys and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.fuzzing import fuzz
from tests.integration.api.conftest import Database


@pytest.fixture
def stored(database: str) -> Database:
    stored = Database(database)
    stored.add_pipeline()
    stored.add_hook("orders", "env:ORDERS_SECRET")
    return stored


@pytest.mark.promise("P24")
@pytest.mark.fault("E26")
@pytest.mark.parametrize("closed", [True, False], ids=["with a key", "on this machine"])
def test_the_fuzzer_finds_nothing(stored: Database, tmp_path: Path, closed: bool) -> None:
    said = fuzz(stored, tmp_path, "--continue-on-failure", "--max-time", "30", closed=closed, timeout_s=300)
    assert "Stateful" in said
