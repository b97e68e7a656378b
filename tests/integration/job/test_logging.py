"""The lines that a run and its workers write, its folder, and what becomes of it when neither can be written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.job.process import BLOCS, Ended, command, environment, job
from tests.unit.job.running import bloc, stage

MODULES = f"{BLOCS},tests.integration.job.logging_blocs"


def pipeline(folder: Path, *stages: Any, **more: Any) -> str:
    path = folder / "p.json"
    path.write_text(
        json.dumps({"name": "p", "stages": [stage(bloc("numbers", count=2, batch_size=1)), *stages], **more})
    )
    return str(path)


def run(file: str, **variables: str) -> Ended:
    return job("run", "--file", file, env=environment(None, CABLEWAY_BLOCS=MODULES, **variables))


def test_every_line_of_a_run_and_of_its_workers_has_its_ids(tmp_path: Path) -> None:
    lanes = [bloc("say", "here"), bloc("say", "there", lane="process")]
    logs = tmp_path / "logs"
    ended = run(pipeline(tmp_path, stage(*lanes)), LOG_FORMAT="json", LOG_DIR=str(logs), LOG_LEVEL="INFO")
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in ended.err.splitlines()]
    said = [line for line in lines if line["logger"].startswith("cableway.blocs.")]
    assert sorted(line["logger"] for line in said) == ["cableway.blocs.here"] * 2 + ["cableway.blocs.there"] * 2
    assert {line["message"] for line in said} == {"got 0\nin lane", "got 1\nin lane"}
    ids = {(line["run_id"], line["trace_id"]) for line in said}
    assert ids == {(ended.last["run_id"], ended.last["trace_id"])}
    general = [json.loads(line) for line in (logs / "cableway.log").read_text().splitlines()]
    assert sorted(map(str, general)) == sorted(map(str, lines))
    assert len((logs / "blocs.log").read_text().splitlines()) == 4


def test_a_log_handler_that_raises_and_a_full_disk_do_not_touch_the_run(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "cableway.log").symlink_to("/dev/full")
    ended = run(
        pipeline(tmp_path, stage(bloc("say", what="break")), stage(bloc("multiply"))),
        LOG_DIR=str(logs),
        LOG_LEVEL="DEBUG",
    )
    assert (ended.code, ended.last["state"]) == (0, "succeeded"), ended.err
    assert ended.err.count("a log handler failed: ZeroDivisionError") == 1
    assert ended.err.count("No space left on device") == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_a_stderr_or_stdout_that_is_closed_or_full_does_not_touch_the_run(tmp_path: Path, closed: str) -> None:
    words = " ".join(f"'{word}'" for word in command("run", "--file", pipeline(tmp_path, stage(bloc("say")))))
    done = subprocess.run(
        ["sh", "-c", f"{words} {closed}"],
        env=environment(None, CABLEWAY_BLOCS=MODULES, LOG_LEVEL="DEBUG"),
        stdout=subprocess.PIPE,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0


def test_a_run_has_a_folder_for_its_files_that_its_record_names(tmp_path: Path) -> None:
    lanes = [bloc("say", "here"), bloc("say", "there", lane="process")]
    file = pipeline(tmp_path, stage(*lanes), settings={"output_dir": "reports/daily"})
    ended = run(file, pipelines_logs_dir=str(tmp_path / "runs"))
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "runs" / "reports" / "daily").iterdir()
    assert folder.name.endswith(ended.last["run_id"].replace("-", "")[-8:])
    assert sorted(path.name for path in folder.iterdir()) == ["here.txt", "there.txt"]


def test_a_folder_that_cannot_be_made_ends_the_run_before_anything_moves(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run(pipeline(tmp_path, stage(bloc("say"))), PIPELINES_LOGS_DIR=str(tmp_path / "file"))
    assert (ended.code, ended.last["reason"]) == (78, "settings")
    assert "PIPELINES_LOGS_DIR" in ended.err
