"""What failed, put right and replayed, leaves in the table what one clean run would have left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from cableway.catalog import Catalog
from cableway.errors import ReplayError, UnknownRunError
from cableway.job import run_opened
from cableway.replays import LetterWish
from cableway.running.opening import JobRequest, open_run
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings, read_settings
from cableway.storage import DatabaseStorage
from cableway.store.port import RunState

BLOCS = "tests.integration.job.line_blocs"
ROWS = 40
BATCH = 5
BAD = (7, 8, 23)
"""Ids of rows that the table refuses."""


class World:
    """A state database, a table in it that refuses some rows, and a file to be read."""

    def __init__(self, settings: DatabaseSettings, folder: Path) -> None:
        assert settings.url is not None
        self.url = settings.url
        self.settings = settings
        self.file = folder / "rows.csv"
        lines = [f"{number},2020-01-{number % 28 + 1:02d},{number}.50" for number in range(ROWS)]
        self.file.write_text("\n".join(["id,day,price", *lines]) + "\n")
        self.storage = DatabaseStorage(settings, catalog=Catalog((BLOCS,)))
        bad = ",".join(map(str, BAD))
        self.query(
            "CREATE TABLE out (id bigint PRIMARY KEY, day date, price numeric,"
            f" CONSTRAINT good CHECK (id NOT IN ({bad})))"
        )

    def query(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True, row_factory=tuple_row) as connection:
            cursor = connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def record(self, *stages: Mapping[str, Any], **settings: Any) -> str:
        types = {"day": "date", "price": "decimal(10,2)"}
        load = {"file_path": str(self.file), "batch_size": BATCH, "types": types}
        first = {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": load}]}
        self.storage.save_pipeline({"name": "p", "stages": [first, *stages], "settings": settings})
        return self.storage.record_run(RunRequest(pipeline="p")).run_id

    def run(self, run_id: str, **variables: str) -> RunState:
        known = {"DATABASE_URL": self.url, "CABLEWAY_BLOCS": BLOCS, **variables}
        settings = read_settings(known)
        opened = open_run(JobRequest(run_id=run_id), settings)
        try:
            run_opened(opened, settings, known, tell=lambda _: None, wait=lambda _: None)
        finally:
            opened.store.close()
        return self.storage.get_run(run_id).run.state

    def put_right(self) -> None:
        self.query("ALTER TABLE out DROP CONSTRAINT good")

    def letters(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT stage, bloc, state, count(*)::int FROM cableway.dead_letters GROUP BY 1, 2, 3 ORDER BY 3")

    def ids(self) -> list[int]:
        return [row[0] for row in self.query("SELECT id FROM out ORDER BY id")]


@pytest.fixture
def world(state: DatabaseSettings, tmp_path: Path) -> Any:
    made = World(state, tmp_path)
    yield made
    made.storage.close()


def store(if_exists: str, **more: Any) -> dict[str, Any]:
    config = {"table_name": "out", "if_exists": if_exists, **({} if if_exists == "append" else {"key": ["id"]})}
    return {"name": "store", "blocs": [{"name": "out", "bloc_type": "postgres_exporter", "config": config}], **more}


SPLIT = {"name": "split", "blocs": [{"name": "split", "bloc_type": "split_rows", "config": {"rows": 2}}]}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("if_exists", ["append", "upsert", "replace"])
def test_a_replay_leaves_what_a_clean_run_would_have_left(world: World, if_exists: str, batched: bool) -> None:
    if if_exists == "replace":
        world.query("DROP TABLE out; CREATE TABLE out (id bigint PRIMARY KEY, day date, price numeric,"
                    " CONSTRAINT good CHECK (id NOT IN (7, 8, 23)))")
    stage = store(if_exists, **({"batch": {"count": 2}} if batched else {}))
    run_id = world.record(SPLIT, stage, max_errors="50%")
    assert world.run(run_id) is RunState.COMPLETED_WITH_ERRORS
    assert len(world.ids()) < ROWS
    failed = world.letters()[0][3]
    world.put_right()
    (made,) = world.storage.replay(LetterWish(run_id=run_id))
    assert (made.stage, made.letters) == ("store", failed)
    assert world.letters() == [("store", "out", "replaying", failed)]
    assert world.run(made.run_id) is RunState.SUCCEEDED
    assert world.ids() == list(range(ROWS))
    assert world.query("SELECT count(*)::int FROM out WHERE price = id + 0.5 AND day < '2020-02-01'") == [(ROWS,)]
    assert world.letters() == [("store", "out", "resolved", failed)]
    with pytest.raises(ReplayError, match=f"there are: {failed} resolved"):
        world.storage.replay(LetterWish(run_id=run_id))
    row = world.storage.get_run(made.run_id).run
    assert row.replay_of == run_id
    assert row.line == world.storage.get_run(run_id).run.line
