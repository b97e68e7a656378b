"""The pipelines of the page on Postgres, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cableway.settings import DatabaseSettings
from tests.integration.blocs.conftest import Query

PAGE = Path(__file__).parents[3] / "docs" / "postgres.md"
BLOCKS = re.findall(r"^```yaml\n(name: (\w+)\n.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PIPELINES = {name: text for text, name in BLOCKS}


def run(folder: Path, name: str, url: str) -> None:
    (folder / f"{name}.yaml").write_text(PIPELINES[name])
    command = [sys.executable, "-m", "cableway", "run", "--file", f"{name}.yaml"]
    environment = {"DATABASE_URL": url, "OTEL_SDK_DISABLED": "true", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def url(database: str) -> str:
    return DatabaseSettings(url=database).url or ""


def test_the_page_s_pipelines_write_and_read(tmp_path: Path, url: str, query: Query) -> None:
    rows = [f"{number},flight {number}" for number in range(2500)]
    (tmp_path / "flights.csv").write_text("\n".join(["flight_id,name", *rows]) + "\n")
    run(tmp_path, "flights_in", url)
    assert query("SELECT count(*), max(name) FILTER (WHERE flight_id = 2499) FROM flights") == [(2500, "flight 2499")]
    (tmp_path / "flights.csv").write_text("flight_id,name,gate\n1,changed,A\n9999,new,B\n")
    run(tmp_path, "flights_in", url)
    assert query("SELECT count(*) FROM flights") == [(2501,)]
    assert query("SELECT * FROM flights WHERE gate IS NOT NULL ORDER BY 1") == [(1, "changed", "A"), (9999, "new", "B")]
    run(tmp_path, "flights_out", url)
    assert (tmp_path / "flights.csv").read_text().splitlines()[:3] == [
        '"flight_id","name","gate"',
        '0,"flight 0",',
        '1,"changed","A"',
    ]
