"""What is wrong is named once, with what to do; the exit code says whether trying again can help."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cableway.runs import RunRequest
from tests.fixtures.postgres import Postgres
from tests.integration.job.process import Ended, State, environment, job
from tests.unit.job.running import bloc, stage

NOOP = stage(bloc("pass_through"))
UNKNOWN = "01980000-0000-7000-8000-000000000000"


def told(ended: Ended, code: int, reason: str) -> str:
    """The one message on stderr, which is also the last line's; no traceback."""
    assert ended.code == code, ended.err
    assert (ended.last["exit_code"], ended.last["reason"]) == (code, reason)
    detail = ended.last["error"]["detail"]
    assert ended.err == f"cableway: {detail}\n"
    assert "Traceback" not in ended.err
    return str(detail)


def test_no_database_is_named() -> None:
    message = told(job(UNKNOWN, env=environment(None)), 78, "settings")
    assert "DATABASE_URL" in message
    assert "DATABASE_HOST" in message


def test_a_host_without_a_name_says_which_variable_is_missing() -> None:
    ended = job(UNKNOWN, env=environment(None, DATABASE_HOST="127.0.0.1"))
    assert told(ended, 78, "settings").startswith("DATABASE_NAME must be set beside DATABASE_HOST")


@pytest.mark.parametrize("url", ["not a url canary", "postgresql://u:canary@[bad/x", "mysql://u:canary@h/d"])
def test_a_url_that_is_none_is_not_quoted(url: str) -> None:
    ended = job(UNKNOWN, env=environment(url))
    assert told(ended, 78, "settings").startswith("DATABASE_URL is not a Postgres connection string: write postgres")
    assert "canary" not in ended.err + ended.out


@pytest.fixture
def port() -> Iterator[int]:
    """A port of the loopback where nobody listens, for as long as the test lasts."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.promise("P19")
@pytest.mark.fault("C1")
def test_a_server_that_refuses_is_69_within_the_budget(port: int) -> None:
    began = time.monotonic()
    url = f"postgresql://u:canary@127.0.0.1:{port}/d"
    ended = job(UNKNOWN, env=environment(url, DATABASE_CONNECT_BUDGET_S="1"))
    message = told(ended, 69, "unavailable")
    assert f"Postgres at 127.0.0.1:{port}, database 'd' cannot be reached: connection refused" in message
    assert "canary" not in ended.err + ended.out
    assert time.monotonic() - began < 10


@pytest.mark.promise("P19")
@pytest.mark.fault("C1")
def test_a_server_that_takes_the_call_and_says_nothing_is_69() -> None:
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"postgresql://u@127.0.0.1:{deaf.getsockname()[1]}/d?connect_timeout=2"
        ended = job(UNKNOWN, env=environment(url, DATABASE_CONNECT_BUDGET_S="0"))
    assert told(ended, 69, "unavailable").endswith("timeout expired")


@pytest.mark.fault("C1")
def test_a_host_that_is_not_there_is_69() -> None:
    url = "postgresql://u@no-such-host.invalid/d"
    ended = job(UNKNOWN, env=environment(url, DATABASE_CONNECT_BUDGET_S="0"))
    assert "no-such-host.invalid:5432" in told(ended, 69, "unavailable")


@pytest.mark.promise("P19")
@pytest.mark.fault("C1")
def test_a_wrong_password_is_77_at_once(postgres_tcp: Postgres) -> None:
    with psycopg.connect(postgres_tcp.tcp_conninfo(), autocommit=True) as connection:
        connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        (rules,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        before = Path(rules).read_text()
        Path(rules).write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        try:
            connection.execute("SELECT pg_sleep(0.2)")
            url = f"postgresql://guarded:canary@127.0.0.1:{postgres_tcp.port}/postgres"
            ended = job(UNKNOWN, env=environment(url))
        finally:
            Path(rules).write_text(before)
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("DROP ROLE guarded")
    message = told(ended, 77, "credentials")
    assert "refused the role 'guarded': check DATABASE_USER and DATABASE_PASSWORD" in message
    assert "canary" not in ended.err + ended.out


@pytest.mark.parametrize("run_id", [UNKNOWN, "'; DROP TABLE x;--", ""])
def test_an_unknown_run(stored: State, run_id: str) -> None:
    assert told(stored.run(run_id), 78, "unknown_run").startswith(f"no run {run_id!r} in Postgres at")


def test_an_unknown_pipeline_names_those_that_there_are(stored: State) -> None:
    stored.record(NOOP)
    ended = job("run", "nope", env=environment(stored.url))
    assert (
        told(ended, 78, "unknown_pipeline")
        == "no pipeline 'nope'; there are: p. Store it with `cableway apply FILE`, or correct the name"
    )


def test_parameters_that_do_not_fit_name_each_one(stored: State) -> None:
    stored.record(NOOP, parameters={"n": {"type": "integer", "default": 1}})
    ended = job("run", "p", "-p", "n=x", "-p", "nope=1", env=environment(stored.url))
    message = told(ended, 78, "parameters")
    assert "/parameters/n: must be an integer" in message
    assert "/parameters/nope" in message


def recorded(stored: State, run_id: str, cwd: Path, code: int, reason: str) -> str:
    """What is told of a run that failed, which its row says in the same words."""
    ended = stored.run(run_id, cwd=cwd)
    message = told(ended, code, reason)
    run = stored.details(run_id).run
    assert (run.state, run.exit_code) == ("failed", code)
    assert run.error == ended.last["error"]
    assert stored.details(run_id).attempts[0].reason == message
    return message


def test_a_csv_file_that_is_not_there(stored: State, tmp_path: Path) -> None:
    run_id = stored.record(stage(bloc("csv_loader", file_path="data/nope.csv")))
    message = recorded(stored, run_id, tmp_path, 3, "source_error")
    assert message == (
        f"no file data/nope.csv: looked for {tmp_path / 'data/nope.csv'}; "
        "check file_path, or mount the folder that it is in"
    )


def test_a_link_that_leads_out_of_the_folder_for_files(stored: State, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "other.csv").write_text("secret\n1\n")
    (root / "link.csv").symlink_to(tmp_path / "other.csv")
    run_id = stored.record(stage(bloc("csv_loader", file_path="link.csv")))
    ended = job(run_id, env=environment(stored.url, CABLEWAY_FILE_ROOT=str(root)), cwd=tmp_path)
    message = told(ended, 3, "source_error")
    assert message == f"link.csv: lies outside of {root}, below which this job reads files"


def test_a_column_that_is_not_there(stored: State, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("carrier,delay\nUA,3\n")
    run_id = stored.record(
        stage(bloc("csv_loader", "rows", file_path="some.csv")),
        stage(bloc("postgres_exporter", table_name="t", columns={"nope": "n"})),
    )
    message = recorded(stored, run_id, tmp_path, 3, "items_failed")
    assert "'columns' names 'nope', and the rows have: 'carrier', 'delay'" in message
    assert message.count("nope") == 1
    with psycopg.connect(stored.url) as connection:
        assert connection.execute("SELECT to_regclass('public.t')").fetchone() == (None,)


def test_a_column_that_a_transformer_wants_in_vain(stored: State, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("carrier,delay\nUA,3\n")
    run_id = stored.record(
        stage(bloc("csv_loader", "rows", file_path="some.csv")),
        stage(bloc("aggregate", group_by=["nope"], sum=["delay"])),
    )
    message = recorded(stored, run_id, tmp_path, 3, "items_failed")
    assert "wants the column 'nope', and its input has: 'carrier', 'delay'" in message


def test_a_table_that_cannot_be_written(stored: State, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("carrier,delay\nUA,3\n")
    run_id = stored.record(
        stage(bloc("csv_loader", "rows", file_path="some.csv")),
        stage(bloc("postgres_exporter", table_name="t", schema="nope")),
    )
    assert "nope" in recorded(stored, run_id, tmp_path, 3, "sink_error")


def test_a_version_that_the_code_does_not_know_any_more(stored: State, tmp_path: Path) -> None:
    run_id = stored.record(stage(bloc("numbers")))
    ended = stored.run(run_id, cwd=tmp_path, CABLEWAY_BLOCS="")
    assert told(ended, 78, "invalid").startswith("no bloc type 'numbers'")
    assert stored.details(run_id).run.state == "failed"


def test_a_traceback_is_shown_to_who_asks_for_it(stored: State, tmp_path: Path) -> None:
    run_id = stored.record(stage(bloc("csv_loader", file_path="nope.csv")))
    ended = stored.run(run_id, cwd=tmp_path, LOG_LEVEL="DEBUG")
    assert ended.code == 3
    assert "Traceback (most recent call last)" in ended.err
    assert f"run_id={run_id} trace_id={ended.last['trace_id']}" in ended.err


def test_a_schema_of_another_version_is_78_and_takes_nothing(stored: State) -> None:
    run_id = stored.record(NOOP)
    with psycopg.connect(stored.url, autocommit=True) as connection:
        connection.execute("UPDATE cableway.migrations SET number = number + 1000")
    assert "schema" in told(stored.run(run_id), 78, "schema_version")
    with psycopg.connect(stored.url) as connection:
        assert connection.execute("SELECT state, attempt FROM cableway.runs").fetchone() == ("queued", 0)


def test_a_wrong_command_line_is_2(stored: State) -> None:
    ended = job("run", env=environment(stored.url))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("cableway: run takes either the name of a pipeline or --file\nusage:")


def test_a_bug_is_1_with_its_traceback(stored: State, tmp_path: Path) -> None:
    (tmp_path / "broken_blocs.py").write_text(
        "from tests.unit.job.blocs import *\n"
        "import cableway.running.verdict\n"
        "def broken(*args): raise ZeroDivisionError('canary')\n"
        "cableway.running.verdict.Verdict.counts = broken\n"
    )
    run_id = stored.record(NOOP)
    env = environment(stored.url, CABLEWAY_BLOCS="broken_blocs")
    del env["CABLEWAY_BLOCS"]
    (tmp_path / "sitecustomize.py").write_text("import broken_blocs\n")
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    ended = job(run_id, env=env)
    assert ended.code == 1
    assert ended.err.count("Traceback (most recent call last)") == 1
    assert "ZeroDivisionError: canary" in ended.err
    assert "canary" not in ended.out
    run = stored.details(run_id).run
    assert (run.state, run.exit_code) == ("failed", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: p\nstages: []\n", "/stages"),
        ("name: p\nstages:\n- name: s\n  blocs: [{name: a, bloc_type: nope}]\n", "no bloc type 'nope'"),
        ("{", "is no YAML"),
    ],
)
def test_a_file_that_is_no_pipeline(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    ended = job("run", "--file", "p.yaml", env=environment(None), cwd=tmp_path)
    assert ended.code == 78
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ended = job("run", "--file", "nope.yaml", env=environment(None), cwd=tmp_path)
    assert told(ended, 78, "invalid") == "nope.yaml: cannot be read: No such file or directory"


def test_a_stored_version_that_was_never_checked_is_checked_before_anything_happens(
    stored: State, tmp_path: Path
) -> None:
    run_id = stored.record(NOOP)
    document: dict[str, Any] = {
        "name": "p",
        "stages": [{"name": "s", "blocs": [{"name": "a", "bloc_type": "nope"}, {"name": "a", "bloc_type": "keep"}]}],
    }
    with psycopg.connect(stored.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE cableway.pipeline_versions SET document = %s::json, document_format = 0",
            (json.dumps(document),),
        )
    ended = stored.run(run_id, cwd=tmp_path)
    assert ended.code == 78
    pointers = {fault["pointer"] for fault in ended.last["error"]["errors"]}
    assert len(pointers) >= 2
    assert stored.details(run_id).run.state == "failed"


def test_the_key_makes_a_repetition_the_same_run_though_it_failed(stored: State) -> None:
    with stored.storage() as storage:
        storage.save_pipeline({"name": "p", "stages": [stage(bloc("keep", fail_open=True))]})
        run_id = storage.record_run(RunRequest(pipeline="p", key="k")).run_id
    assert stored.run(run_id).code == 3
    again = job("run", "p", "--key", "k", env=environment(stored.url))
    assert (again.code, again.last["run_id"], again.last["state"]) == (0, run_id, "failed")
