"""The store behind PgBouncer in transaction mode, where each transaction may be served by another connection.

Two connections serve all, so that whatever one caller left on one of them would reach another.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cableway.blocs import Ending
from cableway.errors import LeaseLostError, SinkError, UnavailableError
from cableway.runs import RunRequest, cancel_run, record_run, record_run_async
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage, TriggerChange
from cableway.store.connect import connect, connect_async
from cableway.store.executor import AsyncExecutor
from cableway.store.heartbeat import Heartbeat
from cableway.store.migrations import migrate, migrations
from cableway.store.port import Claimed, DeadLetter, Held, RunResult, RunState, SpanRow
from cableway.store.postgres import PostgresRunStore
from cableway.store.reading import read_dead_letters, read_run, read_spans
from cableway.store.session import Session
from cableway.stored.watching import TriggerWatch
from cableway_handlers.cron import TickLoop
from cableway_handlers.launch import Sweep, SweepLoop
from tests.fixtures.pgbouncer import PgBouncer, running_pgbouncer
from tests.fixtures.postgres import Postgres
from tests.fixtures.state import pipeline, store_version
from tests.integration.blocs.conftest import Exporter
from tests.integration.launch.launchers import Pretender
from tests.integration.store.conftest import STAGES

SUCCESS = RunResult(state=RunState.SUCCEEDED, exit_code=0, counts={"emitted": 1, "succeeded": 1})


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres, connections=2) as pooler:
        yield pooler


@pytest.fixture
def state(state: DatabaseSettings, pooler: PgBouncer) -> DatabaseSettings:
    """The settings of a fresh state database, through the pooler."""
    return replace(state, url=pooler.conninfo(str(state.parameters()["dbname"])))


def test_nothing_is_heard_of_what_a_caller_set(state: DatabaseSettings) -> None:
    """Why limits are set for each transaction: what comes with the connection is dropped, what is set later leaks."""
    with closing(connect(replace(state, url=f"{state.url}&options=-cstatement_timeout%3D1000"))) as connection:
        assert connection.execute("SHOW statement_timeout").fetchall() == [{"statement_timeout": "0"}]


def test_prepared_statements_are_what_it_cannot_share(state: DatabaseSettings) -> None:
    sessions = [Session(replace(state, prepare_threshold=0), patience_s=0) for _ in range(2)]

    def ask() -> None:
        for _ in range(3):
            for session in sessions:
                session.rows("pipeline_names")

    with pytest.raises(psycopg.errors.DatabaseError, match="prepared statement"):
        ask()
    for session in sessions:
        session.close()


def test_instances_that_start_together_make_the_schema_once(database: str, pooler: PgBouncer) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    settings = DatabaseSettings(url=pooler.conninfo(name), schema="a'b%s")

    def ensure(_: int) -> None:
        with closing(Session(settings)) as session:
            session.ensure_schema()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ensure, range(4)))
    with connect(settings) as connection:
        assert migrate(connection, settings) == []
        rows = connection.execute(b'SELECT count(*) AS n FROM "a\'b%s".migrations').fetchall()
        assert connection.execute("SHOW search_path").fetchall() == [{"search_path": '"$user", public'}]
    assert rows == [{"n": len(migrations())}]


def test_definitions_are_stored_by_many_at_once(state: DatabaseSettings) -> None:
    with DatabaseStorage(state) as storage:
        assert storage.check_connection()
        storage.create_bloc("read", "csv_loader", {"file_path": "data.csv"})
        storage.create_bloc("double", "example_transformer", {"factor": 2})
        storage.create_bloc("triple", "example_transformer", {"factor": 3})
        storage.create_bloc("write", "postgres_exporter", {"table_name": "out", "source_bloc": "double"})
        storage.create_trigger("hourly", "numbers", "0 * * * *")
        storage.create_pipeline("numbers", STAGES)
        storage.create_scheduler("s", "numbers", "hourly")

        def change(number: int) -> None:
            with DatabaseStorage(state) as own:
                own.update_bloc("double", config={"factor": number + 10})
                own.update_pipeline("numbers", description=str(number))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(change, range(4)))
        assert [row.version for row in storage.list_versions("numbers")] == list(range(9, 0, -1))
        assert storage.roll_back("numbers").version == 8
        storage.publish_bloc_types()
        assert storage.catalog().describe("csv_loader")["kind"] == "loader"


@pytest.mark.fault("C12")
def test_runs_live_from_record_to_end(state: DatabaseSettings) -> None:
    with closing(Session(state)) as session:
        store_version(session, pipeline())
        ids = [record_run(session, RunRequest(pipeline="flights", key=f"k{number}")).run_id for number in range(8)]
        assert not record_run(session, RunRequest(pipeline="flights", key="k0")).created

        def work(run_id: str) -> None:
            with closing(PostgresRunStore(state)) as store, closing(PostgresRunStore(state, patience_s=0)) as beating:
                claim = store.claim(run_id)
                assert isinstance(claim, Claimed)
                assert isinstance(beating.claim(run_id), Held)
                for _ in range(5):
                    assert not beating.beat(claim.lease).cancel_requested
                    store.checkpoint(claim.lease, {"position": 1})
                letter = DeadLetter(item_id="1", stage="s", bloc="b", error_type="E", message="m")
                span = SpanRow(
                    trace_id="t", span_id="s", parent_span_id=None, name="n", kind="run", start_ns=1, end_ns=2,
                    status="ok", attributes={},
                )  # fmt: skip
                store.add_dead_letters(claim.lease, [letter])
                store.add_spans(claim.lease, [span])
                store.finish(claim.lease, SUCCESS)
                with pytest.raises(LeaseLostError):
                    beating.beat(claim.lease)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, ids))
        for run_id in ids:
            found = session.drive(read_run(run_id))
            assert (found.run.state, len(found.attempts)) == (RunState.SUCCEEDED, 1)
            assert len(session.drive(read_dead_letters(run_id))) == len(session.drive(read_spans(run_id))) == 1


def test_a_heartbeat_beats(state: DatabaseSettings) -> None:
    with closing(Session(state)) as session, closing(PostgresRunStore(state)) as store:
        short = replace(pipeline(), settings=replace(pipeline().settings, lease_ttl_s=1))
        store_version(session, short)
        run_id = record_run(session, RunRequest(pipeline="flights")).run_id
        claim = store.claim(run_id)
        assert isinstance(claim, Claimed)
        cancelled: queue.SimpleQueue[None] = queue.SimpleQueue()
        heartbeat = Heartbeat(
            lambda: PostgresRunStore(state, patience_s=0), claim.lease, lambda: None, lambda: cancelled.put(None)
        )
        heartbeat.start()
        session.connection().execute("UPDATE cableway.runs SET state = 'cancelling'")
        cancelled.get(timeout=20)
        heartbeat.stop()
        assert not heartbeat.lost


async def test_a_program_with_a_loop_records_runs(state: DatabaseSettings) -> None:
    with closing(Session(state)) as session:
        store_version(session, pipeline())
    async with await connect_async(state) as connection:
        executor = AsyncExecutor(connection, state)
        async with executor.transaction():
            first = await record_run_async(executor, RunRequest(pipeline="flights", key="k"))
        again = await record_run_async(executor, RunRequest(pipeline="flights", key="k"))
    assert (first.created, again.created, first.run_id) == (True, False, again.run_id)


@pytest.mark.parametrize("in_transaction", [False, True])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"lock_timeout_s": 0.2}, "lock timeout"),
        ({"lock_timeout_s": 0, "statement_timeout_s": 0.2}, "statement timeout"),
    ],
)
def test_limits_hold_and_stay_with_their_transaction(
    state: DatabaseSettings, limits: dict[str, Any], words: str, in_transaction: bool
) -> None:
    def wait(session: Session) -> None:
        if not in_transaction:
            session.rows("lock_pipeline", pipeline="flights")
            return
        with session.transaction():
            session.rows("lock_pipeline", pipeline="flights")

    bounded = replace(state, **limits)
    with closing(Session(state)) as holder, closing(Session(bounded, patience_s=0)) as hasty:
        hasty.rows("pipeline_names")
        with holder.transaction():
            holder.rows("lock_pipeline", pipeline="flights")
            with pytest.raises(UnavailableError, match=words):
                wait(hasty)
        for session in (holder, hasty) * 2:
            shown = session.connection().execute(
                "SELECT current_setting('lock_timeout') || current_setting('statement_timeout') AS limits"
            )
            assert shown.fetchall() == [{"limits": "00"}]


def test_a_pooler_that_went_away_is_connected_to_again(postgres: Postgres, state_template: str) -> None:
    name = postgres.create_database(state_template)
    with running_pgbouncer(postgres, connections=1) as own:
        settings = DatabaseSettings(url=own.conninfo(name), connect_budget_s=20)
        with DatabaseStorage(settings) as storage, closing(PostgresRunStore(settings)) as store:
            storage.create_bloc("read", "csv_loader", {"file_path": "a.csv"})
            storage.create_pipeline("numbers", [["read"]])
            run_id = storage.record_run(RunRequest(pipeline="numbers")).run_id
            own.stop()
            own.start()
            claim = store.claim(run_id)
            assert isinstance(claim, Claimed)
            own.stop()
            own.start()
            # It begins with a connection that answers.
            assert storage.update_bloc("read", config={"file_path": "b.csv"}).versions[0].version == 2
            store.finish(claim.lease, SUCCESS)
    postgres.drop_database(name)


def test_changes_of_triggers_are_found_though_nobody_can_listen(state: DatabaseSettings) -> None:
    heard: queue.SimpleQueue[TriggerChange] = queue.SimpleQueue()
    watch = TriggerWatch(state, heard.put, poll_s=0.1)
    watch.start()
    with DatabaseStorage(state) as storage:
        storage.create_trigger("t", "numbers", "0 * * * *")
        assert heard.get(timeout=20) == TriggerChange(kind="trigger", name="t", change="created")
        listening = storage.session.connection().execute("SELECT pg_listening_channels() AS channel").fetchall()
    watch.stop()
    assert listening == []


@pytest.mark.promise("P17")
@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_an_exporter_writes_once_and_shuts_out_an_older_attempt(state: DatabaseSettings, if_exists: str) -> None:
    conninfo = str(state.url)
    rows = [{"n": 1}, {"n": 2}]
    first = Exporter(conninfo, if_exists=if_exists, token=1)
    assert first.write(rows, "0:0:0") == 2
    second = Exporter(conninfo, if_exists=if_exists, token=2)
    # What the first one wrote item by item is there; what it would write as a whole is not.
    assert second.write(rows, "0:0:0") == (0 if if_exists == "append" else 2)

    def go_on() -> None:
        first.write([{"n": 3}], "0:0:1")
        first.close(Ending.SUCCEEDED)

    # It was told of the fence, or its connection was ended.
    with pytest.raises((LeaseLostError, SinkError)):
        go_on()
    first.close(Ending.FAILED)
    second.write([{"n": 4}], "0:0:1")
    second.close(Ending.SUCCEEDED)
    with closing(connect(state)) as connection:
        found = connection.execute("SELECT n FROM public.numbers ORDER BY n").fetchall()
    assert [row["n"] for row in found] == [1, 2, 4]


def test_runs_are_swept_by_the_interval_where_nothing_can_be_heard(state: DatabaseSettings) -> None:
    launcher = Pretender()
    loop = SweepLoop(Sweep(state, launcher), interval_s=0.2)
    with closing(Session(state)) as session, closing(loop):
        store_version(session, pipeline())
        loop.start()
        run_id = record_run(session, RunRequest(pipeline="flights", overlap="replace")).run_id
        assert launcher.launched.acquire(timeout=20)
        assert launcher.names == [f"r-{run_id}-1"]
        assert cancel_run(session, run_id) is RunState.CANCELLED


def test_ticks_are_decided_by_looking_where_nothing_can_be_heard(state: DatabaseSettings) -> None:
    fired = threading.Semaphore(0)
    with DatabaseStorage(state) as storage:
        store_version(storage.session, pipeline())
        with TickLoop(state, on_fired=fired.release, poll_s=0.05), TickLoop(state, on_fired=fired.release, poll_s=0.05):
            storage.create_trigger("hourly", "flights", "0 * * * *")
            storage.create_scheduler("hourly", "flights", "hourly")
            storage.session.connection().execute(
                b"UPDATE cableway.schedulers SET decided_to = now() - interval '1 hour', next_at = now()"
            )
            assert fired.acquire(timeout=20)
        assert len(storage.list_runs()) == 1
