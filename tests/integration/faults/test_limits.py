"""A job that gets too little of what it needs says so in time: readers, handles, processes, memory to share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import need
from tests.integration.faults.process import BLOCS, Processes, ended, runs
from tests.integration.faults.test_signals import record
from tests.integration.job.process import TIMEOUT_S, State, command, environment
from tests.unit.job.running import bloc, stage

NOBODY = 54_321
"""A user of whom there are no processes."""


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end to be written to of a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    "which", [*(pytest.param(name, marks=pytest.mark.chaos) for name in ("stdout", "stderr")), "both"]
)
def test_a_full_pipe_that_nobody_reads_holds_nothing_up(
    stored: State, processes: Processes, full_pipe: int, which: str, tmp_path: Path
) -> None:
    (tmp_path / "log").touch()
    run_id = record(stored, stage(bloc("numbers", batch_size=1)), stage(bloc("talk", lines=500)))
    popen = {name: full_pipe if which in {name, "both"} else subprocess.DEVNULL for name in ("stdout", "stderr")}
    began = time.monotonic()
    process = processes.start(run_id, stored.url, popen=popen, CABLEWAY_TERMINATION_LOG=str(tmp_path / "log"))
    assert process.wait(TIMEOUT_S) == 0
    assert time.monotonic() - began < 15
    assert runs(stored, "state = 'succeeded'")
    assert json.loads((tmp_path / "log").read_text())["state"] == "succeeded"


@pytest.mark.fault("B9")
def test_a_pipe_that_is_read_late_holds_the_last_line_whole(
    stored: State, processes: Processes, tmp_path: Path
) -> None:
    run_id = record(stored, stage(bloc("numbers", batch_size=1)), stage(bloc("talk", lines=10)))
    reading, writing = os.pipe()
    process = processes.start(run_id, stored.url, popen={"stdout": writing, "stderr": subprocess.DEVNULL})
    os.close(writing)
    assert process.wait(TIMEOUT_S) == 0
    with os.fdopen(reading) as said:
        words, _, line = said.read().rpartition('{"event"')
    assert words == "some words" * 3
    assert json.loads('{"event"' + line)["state"] == "succeeded"


@pytest.mark.fault("B9")
def test_under_another_language_than_ours(stored: State, processes: Processes) -> None:
    name = "\N{SNOWMAN} \N{GREEK SMALL LETTER ALPHA}"
    run_id = record(stored, stage(bloc("numbers", name)), stage(bloc("keep", fail_open=True)))
    done = ended(processes.start(run_id, stored.url, LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))
    assert (done.code, done.last["state"]) == (3, "failed")


def limited(limits: dict[str, int], run_id: str, url: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it under *limits*, set by a Python between: a fork of this process, with its threads, may crash by itself."""
    set_them = "import os, resource, sys\n" + "".join(
        f"resource.setrlimit(resource.{name}, ({value}, {value}))\n" for name, value in limits.items()
    )
    return subprocess.run(
        [sys.executable, "-c", f"{set_them}os.execv(sys.argv[1], sys.argv[1:])", *command(run_id)],
        env=environment(url, CABLEWAY_BLOCS=BLOCS),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        **options,
    )


@pytest.mark.promise("P21")
@pytest.mark.fault("B11")
def test_with_64_handles_a_job_without_workers_runs_and_one_with_many_says_what_it_lacks(stored: State) -> None:
    limit = {"RLIMIT_NOFILE": 64}
    few = limited(limit, record(stored, stage(bloc("numbers", batch_size=1)), stage(bloc("multiply"))), stored.url)
    assert few.returncode == 0, few.stderr
    many = stage(bloc("numbers", batch_size=1, count=500), name="load")
    run_id = record(stored, many, stage(bloc("multiply", lane="process"), workers=60))
    done = limited(limit, run_id, stored.url)
    assert done.returncode == 74, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["state"], last["reason"]) == ("failed", "resource")
    assert "Traceback" not in done.stderr


@pytest.mark.promise("P21")
@pytest.mark.fault("B11")
@pytest.mark.parametrize("lane", ["process", "thread"])
def test_with_few_processes_it_says_what_it_lacks(stored: State, lane: str) -> None:
    need.root()
    limit = {"RLIMIT_NPROC": 12}
    many = stage(bloc("numbers", batch_size=1, count=500), name="load")
    run_id = record(stored, many, stage(bloc("multiply", lane=lane), workers=60))
    try:
        done = limited(limit, run_id, stored.url, user=NOBODY, group=NOBODY, extra_groups=[])
    except PermissionError:
        pytest.skip("another user may not start this Python")
    assert done.returncode == 74, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["reason"] == "resource"


@pytest.mark.promise("P21")
@pytest.mark.fault("B11")
def test_without_memory_to_share(stored: State) -> None:
    """Large values then go through files or pipes, or the job says what it lacks; it does not hang."""
    need.root()
    unshare = need.tool("unshare")
    run_id = record(
        stored,
        stage(bloc("numbers", batch_size=1)),
        stage(bloc("enlarge"), name="big"),
        stage(bloc("multiply", lane="process")),
    )
    hide = 'mount -t tmpfs -o ro none /dev/shm && exec "$0" "$@"'
    probe = subprocess.run([unshare, "-m", "sh", "-c", hide, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("may not hide /dev/shm")
    url = stored.url
    if "/dev/shm" in url:
        # Below pytest's own folder the path would be too long for a socket; in a namespace of its own it hides nothing.
        hide = f"mount --bind /dev/shm /mnt && {hide}"
        url = url.replace("/dev/shm", "/mnt")
    env = environment(url, CABLEWAY_BLOCS=BLOCS)
    arguments = [unshare, "-m", "sh", "-c", hide, *command(run_id)]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode in {0, 74}, done.stderr
    assert "Traceback" not in done.stderr
