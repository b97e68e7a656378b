"""Secrets that a run is given are in nothing that it leaves: lines, rows, spans, files, processes, ``repr``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from cableway.catalog import Catalog
from cableway.errors import DefinitionError
from cableway.runs import RunRequest
from cableway.storage import DatabaseStorage
from tests import need
from tests.fixtures.collector import Collector
from tests.fixtures.postgres import Postgres
from tests.integration.job.process import BLOCS, Ended, State, job
from tests.integration.job.process import environment as job_environment
from tests.unit.job.running import bloc, stage

MODULES = f"{BLOCS},tests.integration.job.leaking"
CANARY = "canary-7f3e$9\"b'1/ä"
PASSWORD = "canary-pass%word"
FORMS = ("canary-", quote("canary-7f3e$9"))


@dataclass
class Watch:
    """A place to run in, and everything that was left there."""

    state: State
    folder: Path
    collector: Collector
    secrets: Path
    said: list[str]

    def run(self, *stages: Mapping[str, Any], lists: tuple[str, ...] = ("token", "dsn"), **more: Any) -> Ended:
        """Store and run; every word of it is kept for `leaks`."""
        document = {"name": "p", "stages": list(stages), "secrets": list(lists), **more}
        with DatabaseStorage(self.state.settings, catalog=Catalog(MODULES.split(","))) as storage:
            storage.save_pipeline(document)
            run_id = storage.record_run(RunRequest(pipeline="p")).run_id
        ended = job(run_id, env=self.environment())
        self.said += [ended.out, ended.err]
        return ended

    def environment(self) -> dict[str, str]:
        return job_environment(
            self.state.url,
            CABLEWAY_BLOCS=MODULES,
            CABLEWAY_SECRETS=f"file:{self.secrets}",
            LOG_DIR=str(self.folder / "logs"),
            LOG_LEVEL="DEBUG",
            OTEL_EXPORTER_OTLP_ENDPOINT=self.collector.url,
            PIPELINES_LOGS_DIR=str(self.folder / "runs"),
        )

    def rows(self) -> Iterator[str]:
        """Every row of every table, of Cableway's and of others."""
        with psycopg.connect(self.state.url) as connection:
            tables = connection.execute(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            assert len(tables) > 10
            for schema, name in tables:
                table = Identifier(str(schema), str(name))
                for (row,) in connection.execute(SQL("SELECT t::text FROM {} t").format(table)):
                    yield f"{schema}.{name}: {row}"

    def leaks(self) -> list[str]:
        """Where a canary is."""
        found = [f"said: {line}" for text in self.said for line in text.splitlines() if _told(line)]
        found += [row for row in self.rows() if _told(row)]
        found += [str(span) for span in self.collector.spans if _told(_text_of(span))]
        found += [str(metric) for metric in self.collector.metrics.values() if _told(_text_of(metric))]
        for path in self.folder.rglob("*"):
            if path.is_file() and _told(path.read_bytes().decode(errors="replace")):
                found.append(f"{path}: {path.read_bytes()!r}")
        return found


def _told(text: str) -> bool:
    return any(form in text for form in FORMS)


def _text_of(message: Any) -> str:
    return f"{message} {message.SerializeToString()!r}"


@pytest.fixture
def watch(stored: State, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "token").write_text(f"{CANARY}\n")
    found = Watch(stored, tmp_path_factory.mktemp("outputs"), collector, secrets, [])
    yield found
    assert found.leaks() == []


def leak(name: str = "leak", /, **config: Any) -> dict[str, Any]:
    return bloc("leak", name, token="${secret:token}", url="https://u:${secret:token}@host/", **config)


@pytest.mark.promise("P23")
@pytest.mark.parametrize(
    ("lane", "how"),
    [
        ("thread", "own"),
        ("thread", "row"),
        ("process", "raise"),
        ("process", "exit"),
        *(pytest.param("thread", how, marks=pytest.mark.chaos) for how in ("raise", "exit")),
        *(pytest.param("process", how, marks=pytest.mark.chaos) for how in ("own", "row")),
    ],
)
def test_a_handler_cannot_have_its_secret_told(watch: Watch, lane: str, how: str) -> None:
    failing = stage(
        leak(lane=lane, how=how, notes=str(watch.folder)), retry={"attempts": 2, "initial_s": 0, "jitter": False}
    )
    ended = watch.run(stage(bloc("numbers", count=2, batch_size=1)), failing)
    assert (ended.code, ended.last["reason"], ended.last["counts"]["failed"]) == (3, "items_failed", 2)
    assert "plain ***" in ended.err
    for told in ("in a thread: ***", "a thread failed of ***", "beware of ***", "unraisable ***"):
        assert told in ended.err
    assert "plain ***" in (watch.folder / "logs" / "blocs.log").read_text()
    letters = watch.state.letters(ended.last["run_id"])
    assert len(letters) == 2
    assert "***" in "".join(f"{letter.message} {letter.stack}" for letter in letters) or how == "exit"
    assert "***" in (watch.folder / "repr.leak").read_text()
    assert len(list(watch.folder.glob("cmdline.*"))) >= 2
    assert len(watch.collector.spans) > 2


@pytest.mark.promise("P23")
def test_a_pydantic_config_shows_no_secret(watch: Watch) -> None:
    here = bloc("leak_model", token="${secret:token}")
    there = bloc("leak_model", "there", token="x${secret:token}", lane="process")
    ended = watch.run(stage(bloc("numbers", count=1, batch_size=1)), stage(here, there))
    assert (ended.code, ended.last["reason"]) == (3, "items_failed"), ended.err
    assert ended.err.count("plain") == 2


@pytest.mark.promise("P23")
def test_a_worker_interpreter_tells_no_secret(watch: Watch) -> None:
    need.python(3, 14)
    ended = watch.run(stage(bloc("numbers", count=1, batch_size=1)), stage(leak(lane="interpreter")))
    assert (ended.code, ended.last["reason"]) == (3, "items_failed"), ended.err
    assert "plain ***" in ended.err


@pytest.mark.promise("P23")
@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        (leak(how="fault"), "invalid"),
        pytest.param(leak(how="open"), "run_failed", marks=pytest.mark.chaos),
        (leak(how="open there", lane="process"), "invalid"),
        pytest.param(bloc("leak", token="plain-enough", count="${secret:token}"), "invalid", marks=pytest.mark.chaos),
        (bloc("leak_model", token="plain-enough", count="1${secret:token}"), "invalid"),
        (bloc("leak_exporter", token="${secret:token}", how="close"), "finalize"),
        (bloc("postgres_exporter", table_name="t", dsn="${secret:token}"), "settings"),
    ],
)
def test_what_fails_before_or_after_the_items_says_no_secret(watch: Watch, failing: Any, reason: str) -> None:
    ended = watch.run(stage(bloc("numbers", count=1, batch_size=1)), stage(failing))
    assert ended.last["reason"] == reason, ended.err
    assert ended.code == {"run_failed": 3, "finalize": 3}.get(reason, 78)


@pytest.mark.promise("P23")
def test_a_wrong_password_is_refused_and_not_named(watch: Watch, postgres: Postgres) -> None:
    role, database = "wrongly", watch.state.url.partition("?")[0].rpartition("/")[2]
    rules = postgres.folder / "data" / "pg_hba.conf"
    rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
    with psycopg.connect(watch.state.url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS wrongly")
        connection.execute("CREATE ROLE wrongly LOGIN PASSWORD 'right'")
        connection.execute("SELECT pg_reload_conf()")
    dsn = f"postgresql://{role}:{quote(PASSWORD)}@/{database}?host={postgres.socket_folder}"
    (watch.secrets / "dsn").write_text(dsn)
    ended = watch.run(
        stage(bloc("numbers", count=1, batch_size=1)),
        stage(bloc("postgres_exporter", table_name="t", dsn="${secret:dsn}")),
    )
    assert (ended.code, ended.last["reason"]) == (77, "credentials"), ended.err
    assert "refused the role" in ended.err


@pytest.mark.promise("P23")
def test_a_run_that_ends_well_tells_nothing_in_its_outputs_or_data(watch: Watch) -> None:
    exporter = bloc("leak_exporter", token="${secret:token}")
    ended = watch.run(stage(bloc("numbers", count=1, batch_size=1)), stage(exporter))
    assert ended.code == 0
    outputs = watch.state.details(ended.last["run_id"]).run.outputs
    assert outputs is not None
    assert outputs["leak_exporter"] == {"where": "https://x/?key=***", "token": "***"}
    ended = watch.run(
        stage(bloc("numbers", count=1, batch_size=1)),
        stage(leak(how="data")),
        stage(bloc("multiply", "after", of="nothing")),
    )
    (letter,) = watch.state.letters(ended.last["run_id"])
    assert letter.payload == {"leak": {"token": "***"}}


def test_references_are_what_is_stored(watch: Watch) -> None:
    watch.run(stage(bloc("numbers", count=1, batch_size=1)), stage(leak()))
    (version,) = [row for row in watch.rows() if row.startswith("cableway.pipeline_versions")]
    assert "${secret:token}" in version


def test_a_reference_that_the_pipeline_does_not_list_is_refused_before_anything_is_stored(watch: Watch) -> None:
    with pytest.raises(DefinitionError) as caught:
        watch.run(stage(bloc("numbers"), leak()), lists=("other",))
    assert {fault.pointer for fault in caught.value.faults} == {
        "/stages/0/blocs/1/config/token",
        "/stages/0/blocs/1/config/url",
    }
    assert "${secret:token}: the pipeline does not list 'token' in its 'secrets'" in str(caught.value)


def test_a_secret_that_is_not_there_fails_the_run_and_names_the_reference(watch: Watch) -> None:
    ended = watch.run(stage(bloc("leak", token="${secret:nowhere}")), lists=("nowhere",))
    assert (ended.code, ended.last["state"]) == (78, "failed")
    assert "${secret:nowhere}: no secret of this name in file:" in ended.last["error"]["detail"]


def test_variables_are_given_where_they_are_listed_and_never_the_state_databases(watch: Watch) -> None:
    ended = watch.run(stage(bloc("numbers", count="${env:LANG_COUNT}")), env=["LANG_COUNT"])
    assert (ended.code, "${env:LANG_COUNT}: the variable is not set" in ended.err) == (78, True)
    for name in ("DATABASE_URL", "HOME"):
        with pytest.raises(DefinitionError, match=rf"\$\{{env:{name}\}}"):
            watch.run(stage(bloc("leak", token=f"${{env:{name}}}")))


def test_references_in_data_are_data(watch: Watch) -> None:
    rows = Path(watch.folder / "rows.csv")
    rows.write_text("a\n${secret:token}\n{{7*7}} %s ${param:x}\n")
    ended = watch.run(
        stage(bloc("csv_loader", file_path=str(rows), batch_size=10)),
        stage(bloc("postgres_exporter", table_name="t", source_bloc="csv_loader")),
    )
    assert ended.code == 0, ended.err
    with psycopg.connect(watch.state.url) as connection:
        assert connection.execute("SELECT a FROM t ORDER BY 1").fetchall() == [
            ("${secret:token}",),
            ("{{7*7}} %s ${param:x}",),
        ]


def test_aws_secrets_manager_is_asked(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    moto: Any = need.module("moto.server")
    boto3: Any = need.module("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        aws = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        for name, value in aws.items():
            monkeypatch.setenv(name, value)
        boto3.client("secretsmanager").create_secret(Name="prod/aws_token", SecretString=CANARY)
        env = watch.environment() | aws | {"CABLEWAY_SECRETS": "env:,aws-sm:prod/"}
        monkeypatch.setattr(watch, "environment", lambda: env)
        stages = [stage(bloc("numbers", count=1, batch_size=1)), stage(bloc("leak", token="${secret:aws_token}"))]
        ended = watch.run(*stages, lists=("aws_token",))
        assert (ended.code, ended.last["reason"]) == (3, "items_failed"), ended.err
        assert "plain ***" in ended.err
        ended = watch.run(stage(bloc("leak", token="${secret:absent}")), lists=("absent",))
        assert (ended.code, "${secret:absent}" in ended.err) == (78, True)
    finally:
        server.stop()
