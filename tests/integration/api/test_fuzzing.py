"""A short look by the fuzzer at every operation; `make acceptance` gives it a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.fuzzing import fuzz
from tests.integration.api.conftest import Database


@pytest.mark.promise("P24")
@pytest.mark.fault("E26")
def test_the_fuzzer_finds_nothing_soon(stored: Database, tmp_path: Path) -> None:
    said = fuzz(
        stored, tmp_path, "--phases", "fuzzing", "--max-examples", "1", "--seed", "1", closed=True, timeout_s=55
    )
    assert "passed" in said
