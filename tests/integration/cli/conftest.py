"""The command in a folder of its own, with a database of its own."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cableway.settings import DatabaseSettings
from tests.unit.cli.conftest import Command

PIPELINE = """
name: tiny
parameters:
  day: {type: string, required: true}
stages:
  - name: load
    blocs:
      - {name: rows, bloc_type: csv_loader, config: {file_path: data.csv, batch_size: 2}}
  - name: times
    blocs:
      - {name: doubled, bloc_type: example_transformer, config: {factor: 2, source_bloc: rows}}
"""


@pytest.fixture
def database(state: DatabaseSettings) -> str:
    """The conninfo of a database of its own, with the schema."""
    assert state.url is not None
    return state.url


@pytest.fixture
def without_schema(database: str) -> None:
    """Nobody has used the database before."""
    with psycopg.connect(database) as connection:
        connection.execute("DROP SCHEMA cableway CASCADE")


@pytest.fixture
def cableway(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(PIPELINE)
    Path("data.csv").write_text("a,b\n1,x\n2,y\n3,z\n")
    return Command(capsys)
