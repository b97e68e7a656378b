from __future__ import annotations

from collections.abc import Iterator

import pytest

from cableway.blocs.kinds import Ending
from tests.unit.blocs import loading


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Every loader that a test made lets go of its files."""
    yield
    while loading.MADE:
        loading.MADE.pop().close(Ending.SUCCEEDED)
