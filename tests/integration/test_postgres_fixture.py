from __future__ import annotations

import psycopg
import pytest

from tests.fixtures.postgres import Postgres


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_an_empty_database_of_its_own(database: str, turn: int) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT to_regclass('here')").fetchone()
        assert found == (None,), f"turn {turn} sees what another test left"
        connection.execute("CREATE TABLE here (n int)")


def test_a_crashed_server_keeps_what_was_committed(database: str, postgres: Postgres) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    postgres.stop("immediate")
    postgres.start()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_server_on_the_loopback_serves_containers(postgres_tcp: Postgres) -> None:
    name = postgres_tcp.create_database()
    with psycopg.connect(postgres_tcp.tcp_conninfo(name)) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (name,)
    with psycopg.connect(postgres_tcp.conninfo(name)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
