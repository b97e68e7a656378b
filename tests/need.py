"""
What a test needs from the machine: there, or the test is skipped with the reason.

On a laptop a missing tool is a skip. Where ``CI`` is set the machine was prepared,
so a missing tool is a failure: a suite that skips itself to green proves nothing.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from types import ModuleType
from typing import NoReturn

import pytest


def tool(name: str) -> str:
    """Return the path of the program *name*."""
    return shutil.which(name) or missing(f"needs the program {name}")


def module(name: str) -> ModuleType:
    """Return the imported module *name*."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing(f"needs the module {name} ({error})")


def python(major: int, minor: int) -> None:
    """Skip on an older Python, in CI too: there the same suite also runs on a newer one."""
    if sys.version_info < (major, minor):
        pytest.skip(f"needs Python {major}.{minor}")


def root() -> None:
    """Skip for an ordinary user, in CI too: nothing that could be installed would change it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


def missing(reason: str) -> NoReturn:
    """End the test because of *reason*: as a skip, or as a failure where ``CI`` is set."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set", pytrace=False)
    pytest.skip(reason)
