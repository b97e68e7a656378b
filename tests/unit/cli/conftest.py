"""The command in a folder of its own, without a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cableway_handlers.cli import main

PIPELINE = """\
name: tiny
parameters:
  day: {type: string, required: true}
  times: {type: integer, default: 2}
stages:
  - name: load
    blocs:
      - {name: rows, bloc_type: csv_loader, config: {file_path: data.csv, batch_size: 2}}
  - name: times
    blocs:
      - {name: doubled, bloc_type: example_transformer, config: {factor: "${param:times}", source_bloc: rows}}
  - name: store
    blocs:
      - {name: out, bloc_type: postgres_exporter, config: {table_name: doubled}}
"""


class Command:
    """The command, with what its last call wrote."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        code = main(arguments)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str, code: int = 0) -> Any:
        assert self(*arguments, "--json") == code, self.err
        return json.loads(self.out)


@pytest.fixture
def cableway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(PIPELINE)
    Path("data.csv").write_text("a,b\n1,x\n2,y\n3,z\n")
    return Command(capsys)
