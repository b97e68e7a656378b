"""A file far larger than the memory that its loading takes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks._loads import timed
from benchmarks._processes import environment

GIGABYTES = float(os.environ.get("LARGE_FILE_GIGABYTES", "10"))
ROW = b'%09d,"a note of some length, quoted, for every row of it",12.75,2024-02-29T12:30:00,true\n'
BLOCK_ROWS = 10_000


def written(path: Path, size_bytes: float) -> Path:
    block = b"".join(ROW % number for number in range(BLOCK_ROWS))
    with path.open("wb") as file:
        file.write(b"id,note,price,at,paid\n")
        for _ in range(int(size_bytes / len(block))):
            file.write(block)
    return path


def peak_mb(folder: Path, size_bytes: float) -> float:
    """The most memory of a job that loads a file of that size in batches and lets it go."""
    file = written(folder / "data.csv", size_bytes)
    load = {"name": "load", "bloc_type": "csv_loader", "config": {"file_path": str(file), "batch_size": 20_000}}
    drop = {"name": "drop", "bloc_type": "select", "config": {"columns": ["id"]}}
    stages = [{"name": "load", "blocs": [load]}, {"name": "drop", "queue_size": 2, "blocs": [drop]}]
    (folder / "p.json").write_text(json.dumps({"name": "large", "stages": stages}))
    command = [sys.executable, "-m", "cableway", "run", "--file", str(folder / "p.json")]
    try:
        return timed(command, environment()).peak_mb
    finally:
        file.unlink()


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.promise("P14")
@pytest.mark.fault("F10")
def test_ten_gigabytes_take_hardly_more_than_a_hundred_megabytes(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 1.2e9 * GIGABYTES:
        pytest.skip(f"needs {GIGABYTES:g} GB of disk")
    assert peak_mb(tmp_path, GIGABYTES * 1e9) <= 1.1 * peak_mb(tmp_path, 1e8)
