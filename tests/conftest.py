"""What holds for every test; fixtures stand in named files under ``fixtures``."""

from __future__ import annotations

import os
import re
import signal

import pytest

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.state", "tests.fixtures.image", "tests.fixtures.clusters"]

# Who starts the tests in the background may have them ignore these, and so would every process that they start.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# A developer's own database or collector must never hear of a test.
for _name in [name for name in os.environ if name.startswith(("DATABASE_", "OTEL_", "CABLEWAY_"))]:
    del os.environ[_name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a promise that is not one of docs/promises.md."""
    for item in items:
        for mark in item.iter_markers("promise"):
            if not (len(mark.args) == 1 and re.fullmatch(r"P([1-9]|1\d|2[0-6])", str(mark.args[0]))):
                raise pytest.UsageError(f"{item.nodeid}: promise takes one of P1 to P26, not {mark.args!r}")
