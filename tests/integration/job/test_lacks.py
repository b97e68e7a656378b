"""A job that cannot write its files for want of something: exit code 74, and nothing half there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cableway.errors import EXIT_RESOURCE
from tests import need
from tests.integration.job.process import Ended, command, environment, job


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB with a file on it."""
    need.root()
    mount, folder = need.tool("mount"), tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    (folder / "out.csv").write_text("old")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def ended(
    root: Path, loader: dict[str, Any], target: str, *, handles: int | None = None, kind: str = "csv_exporter"
) -> Ended:
    """How a job ended that wrote what *loader* gives to *target*, with as many *handles* as it may have."""
    stages = [
        {"name": "in", "blocs": [{"name": "load", **loader}]},
        {
            "name": "out",
            "queue_size": 1,
            "blocs": [{"name": "store", "bloc_type": kind, "config": {"file_path": target}}],
        },
    ]
    document = root / "pipeline.json"
    document.write_text(json.dumps({"name": "lacking", "stages": stages}))
    env = environment(None, CABLEWAY_FILE_ROOT=str(root), CABLEWAY_BLOCS="tests.integration.job.hoarding")
    if handles is None:
        return job("run", "--file", str(document), env=env, cwd=root)
    words = ["sh", "-c", f'ulimit -n {handles}; exec "$@"', "sh", *command("run", "--file", str(document))]
    done = subprocess.run(words, env=env, cwd=root, capture_output=True, text=True, timeout=50, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def rows(root: Path, count: int) -> dict[str, Any]:
    (root / "in.csv").write_text("n,t\n" + "".join(f"{n},{'x' * 100}\n" for n in range(count)))
    return {"bloc_type": "csv_loader", "config": {"file_path": "in.csv", "batch_size": 1000}}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.promise("P21")
@pytest.mark.fault("F9")
def test_a_full_disk(tmp_path: Path, disk: Path) -> None:
    run = ended(tmp_path, rows(tmp_path, 20_000), "disk/out.csv")
    assert run.code == EXIT_RESOURCE, run.err
    assert "No space left on device" in run.last["error"]["detail"]
    assert names(disk) == ["out.csv"]
    assert (disk / "out.csv").read_text() == "old"


@pytest.mark.promise("P21")
@pytest.mark.fault("F9")
def test_a_disk_that_can_only_be_read(tmp_path: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    run = ended(tmp_path, rows(tmp_path, 10), "disk/out.csv")
    assert run.code == EXIT_RESOURCE, run.err
    assert "Read-only file system" in run.last["error"]["detail"]
    assert names(disk) == ["out.csv"]
    assert (disk / "out.csv").read_text() == "old"


@pytest.mark.promise("P21")
def test_no_handle_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    hoarder = {"bloc_type": "hoarder", "config": {"after": "out/first.csv"}}
    run = ended(tmp_path, hoarder, "out/{item}.csv", handles=128)
    assert run.code == EXIT_RESOURCE, run.err
    assert "Too many open files" in run.last["error"]["detail"]
    assert names(tmp_path / "out") == ["first.csv"]
    assert (tmp_path / "out" / "first.csv").read_text() == '"n"\n1\n'


@pytest.mark.promise("P21")
@pytest.mark.fault("B11")
def test_no_handle_left_for_a_library(tmp_path: Path) -> None:
    greedy = {"bloc_type": "greedy", "config": {"after": "unused"}}
    run = ended(tmp_path, greedy, "out.parquet", handles=128, kind="parquet_exporter")
    assert run.code == EXIT_RESOURCE, run.err
    assert "Too many open files" in run.last["error"]["detail"]
    assert not (tmp_path / "out.parquet").exists()
