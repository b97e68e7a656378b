"""
Rows that a bloc refuses while the others of their item go on.

A loader, or a transformer that judges rows, returns (or yields) `Sifted` in place of its result. The rows that
it refused become dead letters of their own, or are counted, as the stage's ``on_error`` says; what was kept is
the result. Nothing here imports anything heavy, so it crosses to every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """One row that was refused, and why."""

    position: str
    """Which row it is: for a loader its place in the source, else its place within the item. The same each time."""
    error: Exception
    """Why: a `RowError`, which names row and column and never the value."""
    payload: Any = None
    """What is worth keeping of the row, in JSON values, for whoever repairs it."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """A bloc's result, and the rows that it refused."""

    kept: Any
    """The result; a table without rows where none was good."""
    refused: Sequence[RefusedRow] = ()
    left_out: int = 0
    """Rows refused beyond those that are listed."""
