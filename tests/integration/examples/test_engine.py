"""The engine's example runs as its own text says, in this Python's lanes and on a cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.fixtures.clusters import local_cluster

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> str:
    """What the example prints."""
    command = [sys.executable, "-m", "examples.engine", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_lane_of_this_python() -> None:
    told = run()
    assert "running: True" in told
    assert "12 items ended, 92% of them well" in told
    assert re.search(r"shop-3 +failed: JSONDecodeError", told)
    assert re.search(r"shop-5 +skipped", told)
    for stage, done, failed in (
        ("fetch", 11, 0),
        ("parse", 10, 1),
        ("price", 10, 0),
        ("score", 10, 0),
        ("file", 10, 0),
    ):
        assert re.search(rf"^  {stage} +{done} done, {failed} failed", told, re.MULTILINE), told
    assert re.search(r"fetch .* [1-9]\d* retried", told)
    assert re.search(r"^slowest: shop-\d+ \(fetch [\d.]+ ms, ", told, re.MULTILINE)


def test_the_dask_lane() -> None:
    with local_cluster(workers=1) as address:
        told = run("--dask", address)
    assert "12 items ended, 92% of them well" in told
