"""
The pytest plugin: fixtures for tests of handlers, blocs and pipelines. Nothing loads before a test asks.

It is asked for, with ``pytest_plugins = ["cableway.testing.plugin"]`` in ``conftest.py``; an entry point would
have pytest load it, and rewrite the asserts of all of cableway, wherever the package is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from cableway.testing.clock import FakeClock
    from cableway.testing.report import RunReport
    from cableway.testing.stages import StagesReport


@pytest.fixture
def fake_clock() -> FakeClock:
    """A `cableway.testing.FakeClock` that stands at 0."""
    from cableway.testing import FakeClock

    return FakeClock()


@pytest.fixture
def run_handler() -> Callable[..., StagesReport]:
    """`cableway.testing.run_handler`."""
    from cableway.testing import run_handler

    return run_handler


@pytest.fixture
def run_bloc() -> Callable[..., object]:
    """`cableway.testing.run_bloc`."""
    from cableway.testing import run_bloc

    return run_bloc


@pytest.fixture
def run_pipeline() -> Callable[..., RunReport]:
    """`cableway.testing.run_pipeline`."""
    from cableway.testing import run_pipeline

    return run_pipeline
