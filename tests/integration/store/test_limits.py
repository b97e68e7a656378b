"""No statement of ours takes or waits longer than it may, and nothing of that stays on a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings, read_settings
from cableway.store.connect import connect_async
from cableway.store.executor import AsyncExecutor
from cableway.store.session import Session

LIMITS = pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"lock_timeout_s": 0.2, "statement_timeout_s": 30}, "lock timeout"),
        ({"lock_timeout_s": 0, "statement_timeout_s": 0.2}, "statement timeout"),
    ],
    ids=["lock", "statement"],
)


@pytest.fixture
def locked(session: Session) -> Iterator[None]:
    """Somebody holds a pipeline's lock."""
    with session.transaction():
        session.rows("lock_pipeline", pipeline="flights")
        yield


@LIMITS
def test_a_statement_alone_is_bounded(
    state: DatabaseSettings, locked: None, limits: dict[str, Any], words: str
) -> None:
    with closing(Session(replace(state, **limits), patience_s=0)) as bounded:
        with pytest.raises(UnavailableError, match=words) as caught:
            bounded.rows("lock_pipeline", pipeline="flights")
        assert caught.value.exit_code == 69
        shown = bounded.connection().execute("SELECT current_setting('lock_timeout') AS lock").fetchall()
    assert shown == [{"lock": "0"}]


@LIMITS
def test_a_statement_in_a_transaction_is_bounded(
    state: DatabaseSettings, locked: None, limits: dict[str, Any], words: str
) -> None:
    def save(session: Session) -> None:
        with session.transaction():
            session.rows("lock_triggers")
            session.rows("lock_pipeline", pipeline="flights")

    with closing(Session(replace(state, **limits), patience_s=0)) as bounded:
        with pytest.raises(UnavailableError, match=words):
            save(bounded)
        assert bounded.rows("pipeline_names") == []


@LIMITS
async def test_a_program_with_a_loop_is_bounded(
    state: DatabaseSettings, locked: None, limits: dict[str, Any], words: str
) -> None:
    settings = replace(state, **limits)
    async with await connect_async(settings) as connection:
        executor = AsyncExecutor(connection, settings)
        with pytest.raises(UnavailableError, match=words):
            await executor.rows("lock_pipeline", pipeline="flights")
        with pytest.raises(UnavailableError, match=words):
            async with executor.transaction():
                await executor.rows("lock_pipeline", pipeline="flights")
        assert await executor.rows("pipeline_names") == []


def test_the_environment_says_how_long() -> None:
    variables = {
        "DATABASE_URL": "postgresql://db/etl",
        "DATABASE_STATEMENT_TIMEOUT_S": "90",
        "DATABASE_LOCK_TIMEOUT_S": "0",
    }
    found = read_settings(variables).state_database
    assert (found.statement_timeout_s, found.lock_timeout_s) == (90, 0)
    default = read_settings({"DATABASE_URL": "postgresql://db/etl"}).state_database
    assert (default.statement_timeout_s, default.lock_timeout_s) == (30, 10)
