from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.job import blocs


@pytest.fixture(autouse=True)
def _fresh_blocs() -> Iterator[None]:
    blocs.SEEN.clear()
    blocs.RELEASE.clear()
    blocs.HANGING.clear()
    yield
    blocs.RELEASE.set()
