"""The image as platforms run it: read-only, as anybody, with no rights, against a Postgres outside of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from cableway.catalog import Catalog
from cableway.checks import read_document
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests import need
from tests.fixtures.postgres import Postgres

ROOT = Path(__file__).parents[2]
STRICT = ("--read-only", "--tmpfs", "/tmp", "--user", "12345:12345", "--cap-drop", "all")
NOOP = {"name": "noop", "stages": [{"name": "only", "blocs": [{"name": "nothing", "bloc_type": "pass_through"}]}]}
WAITING_BLOC = '''
import asyncio
from dataclasses import dataclass
from cableway.blocs.kinds import TransformerBloc

@dataclass(frozen=True, slots=True, kw_only=True)
class WaitConfig:
    """Nothing has to be said."""

class Wait(TransformerBloc):
    """Waits for ever."""
    bloc_type = "wait"
    summary = "Waits."
    Config = WaitConfig
    example = {}

    async def transform(self, context):
        await asyncio.Event().wait()
'''

pytestmark = pytest.mark.timeout(900)


class Database:
    """A state database, seen from here and from a container."""

    def __init__(self, url: str, inside: str, options: tuple[str, ...], *blocs: str) -> None:
        self.url = url
        self.inside = inside
        self.options = options
        self.storage = DatabaseStorage(DatabaseSettings(url=url), catalog=Catalog(blocs))

    def record(self, document: Mapping[str, Any]) -> str:
        """Store *document* and record a run of it; its id."""
        saved = self.storage.save_pipeline(document)
        return self.storage.record_run(RunRequest(pipeline=saved.name)).run_id


@pytest.fixture
def over_socket(postgres: Postgres, database: str) -> Iterator[Database]:
    """The embedded Postgres through its socket's folder, and no network at all."""
    inside = database.replace(str(postgres.socket_folder), "/pg")
    options = ("--network", "none", "--volume", f"{postgres.socket_folder}:/pg")
    found = Database(database, inside, options, "examples.flights.blocs")
    with closing(found.storage):
        yield found


@pytest.fixture
def over_port(postgres_tcp: Postgres) -> Iterator[Database]:
    """A Postgres that listens on a port of the host's loopback."""
    name = postgres_tcp.create_database()
    url = postgres_tcp.tcp_conninfo(name)
    found = Database(url, url, ("--network", "host"))
    with closing(found.storage):
        yield found
    postgres_tcp.drop_database(name)


def podman(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    command = [need.tool("podman"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)


def run(image: str, *arguments: str, options: tuple[str, ...] = ("--network", "none"), **variables: str) -> Any:
    given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    return podman("run", "--rm", *STRICT, *options, *given, image, *arguments)


@pytest.mark.fault("H5")
@pytest.mark.parametrize("way", ["over_socket", "over_port"])
def test_a_recorded_run_is_run_as_anybody_with_nothing_to_write_but_tmp(
    image: str, way: str, request: pytest.FixtureRequest
) -> None:
    database: Database = request.getfixturevalue(way)
    run_id = database.record(NOOP)
    done = run(image, run_id, options=database.options, DATABASE_URL=database.inside)
    assert (done.returncode, done.stderr) == (0, "")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["run_id"], last["state"]) == (run_id, "succeeded")
    found = database.storage.get_run(run_id).run
    assert (found.state, found.exit_code, found.attempt) == ("succeeded", 0, 1)


def test_the_example_runs_whole(image: str, over_socket: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run_id = over_socket.record(read_document(ROOT / "examples/flights/pipeline.yaml"))
    done = run(
        image,
        run_id,
        options=(*over_socket.options, "--volume", f"{ROOT / 'examples'}:/data/examples:ro"),
        DATABASE_URL=over_socket.inside,
        CABLEWAY_BLOCS="examples.flights.blocs",
    )
    assert done.returncode == 0, done.stderr
    with psycopg.connect(over_socket.url) as connection:
        flights = connection.execute("SELECT count(*) FROM flights").fetchone()
        carriers = connection.execute("SELECT sum(flights) FROM delays_by_carrier").fetchone()
    assert flights is not None
    assert flights == carriers
    assert flights[0] > 0
    assert over_socket.storage.get_run(run_id).run.rows_in > flights[0]


def test_without_a_database_it_says_which_variables_are_missing(image: str) -> None:
    done = run(image, "01980000-0000-7000-8000-000000000000")
    assert done.returncode == 78
    assert "DATABASE_URL" in done.stderr
    assert "DATABASE_HOST" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_explains_itself_and_refuses_a_wrong_command_line(image: str) -> None:
    helped = run(image, "--help")
    assert (helped.returncode, helped.stdout.splitlines()[0]) == (0, "usage: python -m cableway [--partial-ok] RUN_ID")
    assert run(image).returncode == 2


@pytest.mark.promise("P16")
@pytest.mark.fault("B8")
def test_told_to_stop_as_process_1_it_says_that_it_was_interrupted(
    image: str, over_socket: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waiting_blocs.py").write_text(WAITING_BLOC)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with closing(DatabaseStorage(DatabaseSettings(url=over_socket.url), catalog=Catalog(["waiting_blocs"]))) as storage:
        stages = [{"name": "only", "blocs": [{"name": "w", "bloc_type": "wait"}]}]
        storage.save_pipeline({"name": "waits", "stages": stages, "settings": {"grace_s": 1}})
        run_id = storage.record_run(RunRequest(pipeline="waits")).run_id
    name = f"cableway-test-{uuid4().hex[:8]}"
    options = (*STRICT, *over_socket.options, "--volume", f"{tmp_path}:/own:ro", "--env", "PYTHONPATH=/own")
    variables = ("--env", f"DATABASE_URL={over_socket.inside}", "--env", "CABLEWAY_BLOCS=waiting_blocs")
    command = [need.tool("podman"), "run", "--rm", "--name", name, *options, *variables, image, run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as container:
        try:
            _wait_until_running(over_socket.url)
            stopped = podman("stop", "--time", "20", name)
            out, err = container.communicate(timeout=60)
        finally:
            podman("rm", "--force", "--ignore", name)
    assert stopped.returncode == 0, stopped.stderr
    assert container.returncode == 143, err
    assert json.loads(out.splitlines()[-1])["state"] == "interrupted"
    assert over_socket.storage.get_run(run_id).run.state == "interrupted"


def _wait_until_running(url: str) -> None:
    """Until the server says so; it sleeps, not we."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(600):
            if connection.execute("SELECT 1 FROM cableway.runs WHERE state = 'running'").fetchone():
                return
            connection.execute("SELECT pg_sleep(0.1)")
    raise AssertionError("the container never claimed its run")


LOOK_ROUND = """
import json, os
names = []
for top, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(top, name) not in ("/proc", "/sys", "/dev")]
    names += [os.path.join(top, name) for name in files]
print(json.dumps([names, dict(os.environ), os.getuid()]))
"""


def test_nothing_is_in_it_that_does_not_belong(image: str) -> None:
    done = podman("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", LOOK_ROUND)
    assert done.returncode == 0, done.stderr
    names, variables, uid = json.loads(done.stdout)
    assert uid == 10001
    ours = [name for name in names if name.startswith(("/venv/", "/data/", "/src/", "/root/", "/home/", "/tmp/"))]
    assert [name for name in ours if name.startswith(("/data/", "/src/", "/home/", "/tmp/"))] == []
    unwanted = ("/.cache/", "/pip/", "/.git/", "/tests/")
    assert [name for name in ours if any(part in name for part in unwanted)] == []
    assert [name for name in ours if name.endswith((".env", ".pypirc", ".netrc", "pip.conf"))] == []
    assert any(name.endswith("/cableway/__pycache__/job.cpython-314.pyc") for name in names)
    told = " ".join([*variables, podman("history", "--no-trunc", image).stdout]).lower()
    assert [word for word in ("password", "secret", "token", "database_url", "index-url") if word in told] == []
