"""The pipelines of the page on Postgres, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.blocs.conftest import Query

PAGE = Path(__file__).parents[3] / "docs" / "postgres.md"
BLOCKS = re.findall(r"^```yaml\n(name: (\w+)\n.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
# One process, for its start takes longer than the runs.
SCRIPT = """
import os, sys
from cableway.job import JobRequest, run_job
for step in ("flights_in", "changed.csv", "flights_in", "flights_out"):
    if step.endswith(".csv"):
        os.rename(step, "flights.csv")
    elif run_job(JobRequest(file=f"{step}.yaml")):
        sys.exit(step)
"""


def test_the_page_s_pipelines_write_and_read(tmp_path: Path, database: str, query: Query) -> None:
    for text, name in BLOCKS:
        (tmp_path / f"{name}.yaml").write_text(text)
    rows = [f"{number},flight {number}" for number in range(2500)]
    (tmp_path / "flights.csv").write_text("\n".join(["flight_id,name", *rows]) + "\n")
    (tmp_path / "changed.csv").write_text("flight_id,name,gate\n1,changed,A\n9999,new,B\n")
    environment = {"DATABASE_URL": database, "OTEL_SDK_DISABLED": "true", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr
    assert query("SELECT count(*), max(name) FILTER (WHERE flight_id = 2499) FROM flights") == [(2501, "flight 2499")]
    assert query("SELECT * FROM flights WHERE gate IS NOT NULL ORDER BY 1") == [(1, "changed", "A"), (9999, "new", "B")]
    assert (tmp_path / "flights.csv").read_text().splitlines()[:3] == [
        '"flight_id","name","gate"',
        '0,"flight 0",',
        '1,"changed","A"',
    ]
