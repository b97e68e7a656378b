"""A connection that is lost at any statement of a job, before it arrived or before its answer came, costs nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from cableway.catalog import Catalog
from cableway.job import JobRequest, run_job
from cableway.runs import RunRequest
from cableway.storage import DatabaseStorage
from cableway.store.port import Claimed
from cableway.store.postgres import PostgresRunStore
from cableway.store.statements import text_of
from tests.fixtures.proxy import FaultProxy
from tests.integration.faults.process import query
from tests.integration.job.process import State

BLOCS = "tests.integration.job.line_blocs"
ROWS = 6
REFUSED = 3

# What a job sends to the state database, and what an exporter sends to its own.
OURS = ["claim", "dead_units", "add_dead_letters", "checkpoint", "add_spans", "finish"]
EXPORTERS = ["COPY", "COMMIT", "cableway_commits", "cableway_fences"]


@pytest.fixture
def taken_up(stored: State, tmp_path: Path) -> str:
    """A run whose first attempt has died."""
    (tmp_path / "rows.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(ROWS)))
    load = {"file_path": str(tmp_path / "rows.csv"), "batch_size": 1}
    stages: list[dict[str, Any]] = [
        {"name": "load", "blocs": [{"name": "rows", "bloc_type": "csv_loader", "config": load}]},
        {"name": "check", "blocs": [{"name": "good", "bloc_type": "checked_rows", "config": {"refuse": REFUSED}}]},
        {
            "name": "store",
            "retry": {"attempts": 3, "initial_s": 0.01},  # an export of a row is tried again by its stage
            "blocs": [
                {
                    "name": "out",
                    "bloc_type": "postgres_exporter",
                    "config": {"table_name": "t", "if_exists": "append"},
                }
            ],
        },
    ]
    settings = {"max_errors": 1, "attempts": 9, "backoff": {"initial_s": 0}}
    with DatabaseStorage(stored.settings, catalog=Catalog((BLOCS,))) as storage:
        storage.save_pipeline({"name": "p", "stages": stages, "settings": settings})
        run_id = storage.record_run(RunRequest(pipeline="p")).run_id
    with closing(PostgresRunStore(stored.settings)) as store:
        assert isinstance(store.claim(run_id), Claimed)
    query(stored.url, "UPDATE cableway.runs SET lease_expires_at = clock_timestamp()")
    return run_id


def to_the_end(run_id: str, url: str) -> list[int]:
    """The exit codes of the attempts that it took."""
    variables = {
        "DATABASE_URL": url,
        "CABLEWAY_BLOCS": BLOCS,
        "CABLEWAY_CHECKPOINT_S": "0.05",
        "DATABASE_CONNECT_BUDGET_S": "5",
    }
    codes: list[int] = []
    while not codes or (codes[-1] != 0 and len(codes) < 3):
        codes.append(run_job(JobRequest(run_id=run_id), variables))
    return codes


@pytest.mark.promise("P19")
@pytest.mark.fault("C2")
@pytest.mark.fault("C5")
@pytest.mark.parametrize("way", ["cut_before", "drop_reply_after"])
@pytest.mark.parametrize("what", [*OURS, *EXPORTERS])
def test_a_connection_that_is_lost_there_costs_nothing(
    stored: State, taken_up: str, proxy: FaultProxy, what: str, way: str
) -> None:
    url = proxy.conninfo(str(conninfo_to_dict(stored.url)["dbname"]))
    pattern = text_of(what).splitlines()[0].encode() if what in OURS else what.encode()
    getattr(proxy, way)(pattern)
    codes = to_the_end(taken_up, url)
    assert proxy.struck.is_set(), "it was never sent"
    assert codes == [0] if what in OURS else codes[-1] == 0
    assert query(stored.url, "SELECT id FROM t ORDER BY id") == [(n,) for n in range(ROWS) if n != REFUSED]
    assert len(query(stored.url, "SELECT 1 FROM cableway.dead_letters")) == 1
    assert query(stored.url, "SELECT state FROM cableway.runs") == [("completed_with_errors",)]
