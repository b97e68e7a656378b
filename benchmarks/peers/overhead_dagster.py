"""Dagster: a job of one op that does nothing, in process, with an instance that lives as long as it."""

from __future__ import annotations

import sys

import dagster


@dagster.op
def nothing() -> None:
    pass


@dagster.job
def noop() -> None:
    nothing()


if __name__ == "__main__":
    sys.exit(not noop.execute_in_process().success)
