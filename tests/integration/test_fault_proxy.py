"""The proxy itself: each fault shows to psycopg as the network's would."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import FaultProxy, fault_proxy


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultProxy]:
    with fault_proxy(postgres.socket_folder) as proxy:
        yield proxy


def connect(proxy: FaultProxy, **more: object) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(proxy.conninfo("postgres", connect_timeout=5, **more), autocommit=True)


def test_what_is_not_disturbed_passes(proxy: FaultProxy) -> None:
    with connect(proxy) as connection:
        row = connection.execute("SELECT repeat('x', 200000)").fetchone()
    assert row is not None
    assert len(str(row[0])) == 200_000


def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_mended(proxy: FaultProxy) -> None:
    connection = connect(proxy)
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        connect(proxy)
    proxy.mend()
    with connect(proxy) as again:
        assert again.execute("SELECT 1").fetchone() == (1,)


def test_a_black_hole_answers_nothing(proxy: FaultProxy) -> None:
    connection = connect(proxy, tcp_user_timeout=500)
    proxy.blackhole()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(proxy.conninfo("postgres", connect_timeout=2))
    proxy.mend()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_a_commit_whose_reply_is_lost_was_a_commit(proxy: FaultProxy, database: str) -> None:
    name = conninfo_to_dict(database)["dbname"]
    connection = psycopg.connect(proxy.conninfo(str(name)))
    connection.execute("CREATE TABLE t (n int)")
    connection.execute("INSERT INTO t VALUES (1)")
    proxy.drop_reply_after(b"COMMIT")
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert proxy.struck.is_set()
    with psycopg.connect(database) as direct:
        assert direct.execute("SELECT count(*) FROM t").fetchone() == (1,)
