"""A memory limit is reached: a worker that is killed for it fails its item alone, a killed runner leaves its lease."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests import need
from tests.integration.faults.process import BLOCS, query
from tests.integration.faults.test_signals import record
from tests.integration.job.process import TIMEOUT_S, State, command, environment
from tests.unit.job.running import bloc, stage

CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
LIMIT_BYTES = 256 << 20


@pytest.fixture
def confine() -> Iterator[Path]:
    """Has the process that calls it, and its children, live on 256 MiB."""
    need.root()
    made = _cgroup()

    yield made / "cgroup.procs"
    with suppress(OSError):
        made.rmdir()


def _cgroup() -> Path:
    for place in CGROUPS:
        made = place / f"cableway-test-{uuid4().hex[:8]}"
        try:
            made.mkdir()
        except OSError:
            continue
        for limit in ("memory.limit_in_bytes", "memory.max"):
            if (made / limit).exists():
                with suppress(OSError):
                    (made / limit).write_text(str(LIMIT_BYTES))
                    return made
        made.rmdir()
    pytest.skip("may not limit memory here")


def run(confine: Path, run_id: str, url: str) -> subprocess.CompletedProcess[str]:
    env = environment(url, CABLEWAY_BLOCS=BLOCS)
    # By a shell between: a fork of this process, with its threads, may crash by itself.
    confined = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(confine), *command(run_id)]
    return subprocess.run(confined, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.promise("P12")
@pytest.mark.fault("B6")
def test_a_worker_that_is_killed_for_its_memory_fails_its_item_alone(stored: State, confine: Path) -> None:
    greedy = stage(bloc("swell", lane="process", on=3), workers=1)
    run_id = record(stored, stage(bloc("numbers", batch_size=1, count=6)), greedy, max_errors=1)
    done = run(confine, run_id, stored.url)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])["counts"]
    assert (counts["succeeded"], counts["failed"], counts["lost"]) == (6, 1, 0)
    assert query(stored.url, "SELECT error_type, item_id FROM cableway.dead_letters") == [("worker_died", "n3")]


@pytest.mark.chaos
@pytest.mark.promise("P16")
@pytest.mark.fault("B6")
def test_a_runner_that_is_killed_for_its_memory_leaves_its_lease(stored: State, confine: Path) -> None:
    greedy = stage(bloc("swell", lane="thread", on=3))
    run_id = record(stored, stage(bloc("numbers", batch_size=1, count=6)), greedy, lease_ttl_s=1, attempts=2)
    assert run(confine, run_id, stored.url).returncode == -9
    assert query(stored.url, "SELECT state, exit_code FROM cableway.runs") == [("running", None)]
