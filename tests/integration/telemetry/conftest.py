from __future__ import annotations

from tests.fixtures.collector import collector

__all__ = ["collector"]
