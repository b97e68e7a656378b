from __future__ import annotations

from pathlib import Path

import pytest

from cableway.errors import SettingsError
from cableway.settings import DatabaseSettings, Settings, get_settings, read_settings

PARTS = {"DATABASE_HOST": "db.example", "DATABASE_NAME": "etl", "DATABASE_USER": "ada", "DATABASE_PASSWORD": "s3cret"}


def database(**variables: str) -> DatabaseSettings:
    return read_settings(variables).state_database


def test_single_values_make_a_connection() -> None:
    assert database(**PARTS, DATABASE_SSL_MODE="require").parameters() == {
        "host": "db.example",
        "port": "5432",
        "dbname": "etl",
        "user": "ada",
        "password": "s3cret",
        "sslmode": "require",
    }


def test_a_url_goes_before_the_single_values_and_they_fill_in_what_it_leaves_out() -> None:
    known = database(DATABASE_URL="postgresql+psycopg2://eve@other:6543/x", **PARTS, DATABASE_SSL_MODE="prefer")
    assert known.parameters() == {
        "host": "other",
        "port": "6543",
        "dbname": "x",
        "user": "eve",
        "password": "s3cret",
        "sslmode": "prefer",
    }
    assert known.where == "other:6543, database 'x'"


def test_a_socket_folder_is_named_without_a_port() -> None:
    assert database(DATABASE_URL="postgresql://postgres@/postgres?host=/run/pg").where == (
        "/run/pg, database 'postgres'"
    )


def test_without_a_database_the_variables_are_named() -> None:
    settings = read_settings({"DATABASE_HOST": " ", "DATABASE_NAME": "etl"})
    assert settings.database is None
    with pytest.raises(SettingsError, match=r"DATABASE_URL.*DATABASE_HOST") as caught:
        _ = settings.state_database
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("missing", ["DATABASE_NAME", "DATABASE_USER"])
def test_a_host_alone_is_not_enough(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        read_settings({name: value for name, value in PARTS.items() if name != missing})


@pytest.mark.parametrize(
    "url", ["mysql://ada:s3cret@db/x", "postgresql://ada:s3cret@db:port/x y=", "s3cret", "host=db s3cret"]
)
def test_a_url_that_does_not_parse_is_not_echoed(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as caught:
        database(DATABASE_URL=url).parameters()
    assert "s3cret" not in f"{caught.value}{caught.value.problem()}{caught.value.__cause__}"
    assert caught.value.__suppress_context__


def test_nothing_shows_a_password() -> None:
    settings = read_settings(
        {**PARTS, "DATABASE_URL": "postgresql://ada:s3cret@db/x", "OTEL_EXPORTER_OTLP_HEADERS": "key=s3cret"}
    )
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.state_database.where


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_PORT", "http"),
        ("DATABASE_PORT", "70000"),
        ("DATABASE_SSL_MODE", "on"),
        ("DATABASE_SCHEMA", "public"),
        ("DATABASE_SCHEMA", "pg_mine"),
        ("DATABASE_SCHEMA", "x" * 64),
        ("DATABASE_CONNECT_BUDGET_S", "soon"),
        ("DATABASE_CONNECT_BUDGET_S", "nan"),
        ("DATABASE_PREPARE", "maybe"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVELS", "cableway"),
        ("LOG_LEVELS", "cableway:LOUD"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} ") as caught:
        read_settings({**PARTS, name: value})
    assert [fault.pointer for fault in caught.value.faults] == [f"/{name}"]


def test_everything_else_has_a_default() -> None:
    assert read_settings({}) == Settings()
    assert database(**PARTS).schema == "cableway"
    assert database(**PARTS).prepare_threshold is None


def test_the_rest_is_read() -> None:
    settings = read_settings(
        {
            "LOG_LEVEL": "debug",
            "LOG_LEVELS": "cableway.scheduler:INFO, cableway:warning",
            "LOG_DIR": "logs",
            "pipelines_logs_dir": "out",
            "CABLEWAY_BLOCS": "mine.blocs, theirs",
            "CABLEWAY_SECRETS": "aws-sm:",
            "CABLEWAY_LOCAL_SPANS": "0",
            "OTEL_SERVICE_NAME": "flights",
            "OTHER": "x",
        }
    )
    assert settings == Settings(
        log_level="DEBUG",
        log_levels={"cableway.scheduler": "INFO", "cableway": "WARNING"},
        log_dir="logs",
        pipelines_logs_dir="out",
        blocs=("mine.blocs", "theirs"),
        secrets=("aws-sm:",),
        otel_variables={"CABLEWAY_LOCAL_SPANS": "0", "OTEL_SERVICE_NAME": "flights"},
    )
    assert read_settings({"PIPELINES_LOGS_DIR": "a", "pipelines_logs_dir": "b"}).pipelines_logs_dir == "a"


def test_a_file_gives_what_the_environment_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("DATABASE_URL=postgresql://ada@file/x\nLOG_LEVEL=ERROR\nexport LOG_DIR='from file'\n")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    settings = get_settings(str(file))
    assert settings.state_database.where == "file:5432, database 'x'"
    assert (settings.log_level, settings.log_dir) == ("WARNING", "from file")
    monkeypatch.chdir(tmp_path)
    assert get_settings() == settings
    assert get_settings(None).database is None


@pytest.mark.parametrize(
    ("variables", "execution"),
    [
        ({}, None),
        ({"HOSTNAME": "laptop"}, None),
        ({"HOSTNAME": "nightly-abcde", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes:nightly-abcde"),
        ({"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/b0f3d2-4711"}, "ecs:b0f3d2"),
        ({"ECS_CONTAINER_METADATA_URI_V4": "http://x/v4/b0-1", "AWS_BATCH_JOB_ID": "j:3"}, "batch:j:3"),
        ({"CLOUD_RUN_EXECUTION": "nightly-x7", "CLOUD_RUN_TASK_INDEX": "2"}, "cloudrun:nightly-x7/2"),
        ({"CONTAINER_APP_JOB_EXECUTION_NAME": "job-1"}, "containerapp:job-1"),
        ({"CABLEWAY_EXECUTION_ID": "mine", "AWS_BATCH_JOB_ID": "j"}, "mine"),
    ],
)
def test_what_a_platform_calls_the_execution(variables: dict[str, str], execution: str | None) -> None:
    assert read_settings(variables).execution == execution
