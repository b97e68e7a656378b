"""Prefect: a flow of one task that does nothing, with the server that it starts for itself."""

from __future__ import annotations

from prefect import flow, task


@task
def nothing() -> None:
    pass


@flow
def noop() -> None:
    nothing()


if __name__ == "__main__":
    noop()
