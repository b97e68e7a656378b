"""The local launcher and the processes it leaves: none doubled, none killed with its parent, no zombie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cableway_handlers.launch import Launch, LaunchError, LaunchState, LaunchStatus, LocalLauncher

# Says that it runs, then lives until its pipe is written to; "-" makes it deaf to SIGTERM.
JOB = """
import os, signal, sys
folder, deaf, run_id = sys.argv[1:]
if deaf == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("hello from", run_id, os.environ.get("DATABASE_URL"), flush=True)
open(f"{folder}/ready", "w").write(".")
sys.exit(int(open(f"{folder}/end").read()))
"""

PARENT = """
import os, sys
from pathlib import Path
from cableway_handlers.launch import Launch, LocalLauncher
launcher = LocalLauncher(Path(sys.argv[1]) / "launches", environment=os.environ, command=sys.argv[2:])
print(launcher.launch(Launch("run", 1)), flush=True)
os.kill(os.getpid(), 9)
"""


class Local:
    def __init__(self, folder: Path, *, deaf: bool = False) -> None:
        self.folder = folder
        self.command = (sys.executable, "-S", "-c", JOB, str(folder), "deaf" if deaf else "-")
        for name in ("ready", "end"):
            os.mkfifo(folder / name)

    def launcher(self, **environment: str) -> LocalLauncher:
        return LocalLauncher(self.folder / "launches", environment=environment, command=self.command)

    def wait_until_ready(self) -> None:
        assert (self.folder / "ready").read_text() == "."

    def end(self, exit_code: int = 0) -> None:
        (self.folder / "end").write_text(str(exit_code))


def test_the_child_gets_the_environment_it_is_given_and_logs_to_its_file(tmp_path: Path) -> None:
    local = Local(tmp_path)
    launcher, launch = local.launcher(DATABASE_URL="postgresql://there"), Launch("run", 1)
    external_id = launcher.launch(launch)
    local.wait_until_ready()
    local.end(3)
    assert launcher.wait(external_id, timeout_s=20) == 3
    assert launcher.log_file(launch).read_text() == "hello from run postgresql://there\n"


def test_the_child_survives_the_death_of_its_parent_and_is_not_doubled(tmp_path: Path) -> None:
    local = Local(tmp_path)
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path), *local.command], check=False, capture_output=True, text=True
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    external_id = parent.stdout.strip()
    local.wait_until_ready()
    launcher = local.launcher()
    assert launcher.find(Launch("run", 1)) == external_id
    assert launcher.find(Launch("run", 2)) is None
    assert launcher.status(external_id).state is LaunchState.RUNNING
    with pytest.raises(TimeoutError):
        launcher.wait(external_id, timeout_s=0)
    assert launcher.launch(Launch("run", 1)) == external_id
    local.end()
    assert launcher.wait(external_id, timeout_s=20) is None  # its exit code went to the parent that is gone
    assert launcher.status(external_id).state is LaunchState.ENDED


def test_an_ended_child_is_reaped_without_anybody_asking(tmp_path: Path) -> None:
    local = Local(tmp_path)
    launcher = local.launcher()
    external_id = launcher.launch(Launch("run", 1))
    local.wait_until_ready()
    reapers = [thread for thread in threading.enumerate() if thread.name == "wait for r-run-1"]
    local.end()
    for reaper in reapers:
        reaper.join(20)
    with pytest.raises(ChildProcessError):
        os.waitpid(int(external_id.rpartition(":")[2]), os.WNOHANG)


def test_a_child_that_does_not_stop_is_killed_after_the_grace(tmp_path: Path) -> None:
    local = Local(tmp_path, deaf=True)
    launcher = local.launcher()
    external_id = launcher.launch(Launch("run", 1))
    local.wait_until_ready()
    launcher.stop(external_id, grace_s=0.05)
    assert launcher.wait(external_id, timeout_s=20) == 128 + signal.SIGKILL
    assert launcher.status(external_id) == LaunchStatus(LaunchState.ENDED, 137, signal="SIGKILL")


def test_many_launches_at_once_of_one_name_start_one_process(tmp_path: Path) -> None:
    local = Local(tmp_path)
    launchers = [local.launcher() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        ids = {future.result() for future in [threads.submit(one.launch, Launch("run", 1)) for one in launchers]}
    assert len(ids) == 1
    local.wait_until_ready()
    local.end()


def test_a_reused_process_id_is_neither_running_nor_stopped(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path, environment={})
    (tmp_path / "r-run-1.pid").write_text(f"{os.getpid()}\n")
    external_id = f"r-run-1:{os.getpid()}"
    assert launcher.status(external_id).state is LaunchState.ENDED
    launcher.stop(external_id, grace_s=0)


def test_a_folder_that_cannot_be_written_is_a_launch_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    launcher = LocalLauncher(tmp_path / "file" / "launches", environment={})
    with pytest.raises(LaunchError, match="cannot start r-run-1"):
        launcher.launch(Launch("run", 1))


def test_a_command_that_is_not_there_is_a_launch_error_and_may_be_tried_again(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path, environment={}, command=(str(tmp_path / "nothing"),))
    for _ in range(2):
        with pytest.raises(LaunchError, match="No such file"):
            launcher.launch(Launch("run", 1))
