"""Attempts that follow each other, and attempts that do not know that they are over."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from cableway.blocs.kinds import Ending
from cableway.blocs.postgres.ledger import Ledger, position_of
from cableway.errors import LeaseLostError, SinkError
from tests.integration.blocs.conftest import Open, Query

ITEMS = ("0:0:0", "0:10:90", "0:20:180")


@pytest.mark.promise("P17")
def test_a_later_attempt_skips_what_is_there(open_exporter: Open, query: Query) -> None:
    first = open_exporter(if_exists="append", token=1)
    assert [first.write([{"n": 1}, {"n": 2}], item) for item in ITEMS[:2]] == [2, 2]
    second = open_exporter(if_exists="append", token=2)
    assert [second.write([{"n": 1}, {"n": 2}], item) for item in ITEMS] == [0, 0, 2]
    second.close()
    assert query("SELECT count(*) FROM numbers") == [(6,)]
    assert query("SELECT item_key, position, token FROM cableway_commits ORDER BY item_key") == [
        ("0:0:0", "0:0:0", 1),
        ("0:10:90", "0:10:90", 1),
        ("0:20:180", "0:20:180", 2),
    ]


@pytest.mark.promise("P17")
def test_rows_and_key_stand_or_fall_together(open_exporter: Open, query: Query) -> None:
    query("CREATE TABLE numbers (n int CHECK (n > 0))")
    exporter = open_exporter(if_exists="append")
    with pytest.raises(Exception, match="check constraint"):
        exporter.write([{"n": 1}, {"n": -1}], ITEMS[0])
    assert query("SELECT count(*) FROM cableway_commits") == [(0,)]
    assert exporter.write([{"n": 1}], ITEMS[0]) == 1


@pytest.mark.promise("P17")
def test_lines_and_blocs_do_not_know_each_others_keys(open_exporter: Open, query: Query) -> None:
    for options in ({"line": "line-1"}, {"line": "line-2"}, {"line": "line-1", "name": "other"}):
        exporter = open_exporter(if_exists="append", **options)
        assert exporter.write([{"n": 1}], ITEMS[0]) == 1
        exporter.close()
    assert query("SELECT count(*) FROM numbers") == [(3,)]


@pytest.mark.promise("P17")
@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_later_attempt_ends_the_connections_of_an_earlier_one(
    open_exporter: Open, query: Query, if_exists: str
) -> None:
    stopped = open_exporter(if_exists=if_exists, token=7)
    stopped.write([{"n": 1}], ITEMS[0])
    other_line = open_exporter(if_exists="append", table_name="others", line="line-2", token=1)
    later = open_exporter(if_exists=if_exists, token=8)
    with pytest.raises(SinkError, match="connection to Postgres was lost"):
        stopped.write([{"n": 2}], ITEMS[1])
    other_line.write([{"n": 1}], ITEMS[0])
    later.write([{"n": 1}], ITEMS[0])
    later.write([{"n": 2}], ITEMS[1])
    later.close()
    assert query("SELECT n FROM numbers ORDER BY n") == [(1,), (2,)]


@pytest.mark.promise("P17")
@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_a_stale_attempt_is_refused_when_it_comes_back(open_exporter: Open, query: Query, if_exists: str) -> None:
    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (0)")
    open_exporter(if_exists="append", table_name="others", token=8)
    with pytest.raises(LeaseLostError, match="a later attempt writes line line-1"):
        open_exporter(if_exists=if_exists, token=7)
    assert query("SELECT token FROM cableway_fences") == [(8,)]
    assert query("SELECT n FROM numbers") == [(0,)]


@pytest.mark.promise("P17")
def test_the_fence_is_looked_at_before_the_commit(open_exporter: Open, query: Query) -> None:
    """Where the earlier attempt's connections could not be ended, it is refused all the same."""
    query("CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (0)")
    whole, single = open_exporter(token=7), open_exporter(if_exists="append", table_name="others", token=7)
    whole.write([{"n": 1}], ITEMS[0])
    query("UPDATE cableway_fences SET token = 8")
    with pytest.raises(LeaseLostError):
        single.write([{"n": 1}], ITEMS[0])
    with pytest.raises(LeaseLostError):
        whole.close(Ending.SUCCEEDED)
    assert query("SELECT n FROM numbers") == [(0,)]
    assert query("SELECT count(*) FROM others") == [(0,)]
    assert query("SELECT count(*) FROM cableway_commits") == [(0,)]


@pytest.mark.promise("P17")
def test_a_fence_that_is_held_cannot_be_raised_meanwhile(open_exporter: Open, query: Query, database: str) -> None:
    open_exporter(if_exists="append", token=1).close()
    ledger = Ledger("public", "line-1", "store", 1)
    with psycopg.Connection[DictRow].connect(database, row_factory=dict_row) as committing:
        ledger.hold_fence(committing)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            query("SET lock_timeout = '100ms'; UPDATE cableway_fences SET token = 2")
    query("UPDATE cableway_fences SET token = 2")


@pytest.mark.promise("P17")
def test_a_run_that_committed_its_end_is_not_written_twice(open_exporter: Open, query: Query) -> None:
    first = open_exporter(token=1)
    first.write([{"n": 1}], ITEMS[0])
    first.close()
    second = open_exporter(token=2)
    assert second.write([{"n": 1}], ITEMS[0]) == 0
    second.close()
    assert query("SELECT n FROM numbers") == [(1,)]
    assert query("SELECT item_key, token FROM cableway_commits") == [("end", 1)]
    next_run = open_exporter(line="line-2", token=3)
    next_run.write([{"n": 2}], ITEMS[0])
    next_run.close()
    assert query("SELECT n FROM numbers") == [(2,)]


def test_connections_are_named_after_line_and_token(open_exporter: Open, query: Query) -> None:
    open_exporter(if_exists="append", line="0b8f6f0e-6a4e-4f0c-9a1e-1c2d3e4f5a6b", token=12)
    names = query("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'cableway/%%'")
    assert names == [("cableway/0b8f6f0e-6a4e-4f0c-9a1e-1c2d3e4f5a6b/12",)]


def test_a_long_line_still_fits_a_name() -> None:
    name = Ledger("public", "pipeline/loader/" + "x" * 100, "b", 10**17 - 1).application_name
    assert len(name.encode()) <= 63
    assert name.count("/") == 2


@pytest.mark.parametrize(
    ("key", "position"),
    [("0:5:90", "0:5:90"), ("0:5:90.3", "0:5:90"), ("0:5:90..0:9:180", "0:9:180"), ("gather", "gather")],
)
def test_a_key_ends_at_a_position(key: str, position: str) -> None:
    assert position_of(key) == position
