"""A server that is replaced while callers hammer it: no request is lost."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway_handlers.api.keys import create_key
from tests.integration.api.conftest import Database
from tests.integration.api.serving import NO_TLS

COMMAND = "import sys; from cableway_handlers.cli import main; sys.exit(main())"


MANAGER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Served:
    """`cableway serve` and its successors, whose lines are read one after the other."""

    def __init__(self, database: Database, folder: Path, *options: str, listener: socket.socket | None = None) -> None:
        environment = {**os.environ, "DATABASE_URL": database.conninfo}
        command = [sys.executable, "-c", COMMAND, "serve", *options]
        if listener is not None:
            # As a service manager does: the socket is the descriptor 3, and the process is named by its own id.
            command = [sys.executable, "-c", MANAGER, str(listener.fileno()), *command]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=() if listener is None else (listener.fileno(),),
            start_new_session=True,
        )
        try:
            self.url = self.next_address()
        except AssertionError:
            self.close()
            raise

    def next_address(self) -> str:
        assert self.process.stderr is not None
        said: list[str] = []
        for line in iter(self.process.stderr.readline, ""):
            said.append(line)
            if line.startswith("listening on "):
                return line.split()[-1]
        raise AssertionError("".join(said))

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=20)


class Hammer:
    """Callers that ask without a pause, on connections that they keep and on ones that they make anew."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._enough = threading.Semaphore(0)
        self.answers: list[int | str] = []
        self._threads = [threading.Thread(target=self._ask, args=(keep,)) for keep in (True, False)]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self, count: int) -> None:
        for _ in range(count):
            assert self._enough.acquire(timeout=20)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self, keep: bool) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        with httpx.Client(base_url=self._url, timeout=20, trust_env=False, verify=NO_TLS, limits=limits) as client:
            while not self._stop.is_set():
                try:
                    response = client.post("/runs", json={"pipeline": "nobody"})
                    self.answers.append(response.status_code)
                except httpx.HTTPError as error:
                    self.answers.append(repr(error))
                self._enough.release()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_successor_takes_over_and_no_request_is_lost(stored: Database, tmp_path: Path) -> None:
    served = Served(stored, tmp_path, "--port", "0", "--no-scheduler")
    try:
        hammer = Hammer(served.url)
        try:
            hammer.wait_for_more(10)
            os.kill(served.process.pid, signal.SIGHUP)
            assert served.next_address() == served.url
            assert served.process.wait(20) == 0
            hammer.wait_for_more(20)
        finally:
            hammer.stop()
        assert set(hammer.answers) == {404}
    finally:
        served.close()


def test_a_socket_that_is_handed_over_outlives_the_server(
    stored: Database, tmp_path: Path, listener: socket.socket
) -> None:
    url = "http://127.0.0.1:{1}".format(*listener.getsockname())
    first = Served(stored, tmp_path, "--no-scheduler", listener=listener)
    try:
        assert first.url == url
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(20) == 0
    finally:
        first.close()
    # Nobody serves now; who calls waits for the next one.
    waiting = socket.create_connection(listener.getsockname())
    waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    second = Served(stored, tmp_path, "--no-scheduler", listener=listener)
    try:
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    finally:
        waiting.close()
        second.close()


@pytest.mark.promise("P25")
def test_beyond_this_machine_there_must_be_a_key(stored: Database, tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMAND, "serve", "--host", "0.0.0.0", "--port", "0"]
    environment = {**os.environ, "DATABASE_URL": stored.conninfo}
    refused = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert refused.returncode == 78
    assert "cableway keys create" in refused.stderr

    with DatabaseStorage(DatabaseSettings(url=stored.conninfo)) as storage:
        key = storage.session.drive(create_key("only", ["read"])).text
    served = Served(stored, tmp_path, "--host", "0.0.0.0", "--port", "0")
    try:
        url = served.url.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, timeout=20, trust_env=False, verify=NO_TLS) as client:
            assert client.get("/blocs").status_code == 401
            assert client.get("/health").json() == {"status": "up"}
            shown = client.get("/health", headers={"authorization": f"Bearer {key}"}).json()
            assert shown == {"status": "up", "database": "up", "scheduler": "up"}
    finally:
        served.close()


def test_in_the_background_it_outlives_the_command(stored: Database, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with DatabaseStorage(DatabaseSettings(url=stored.conninfo)) as storage:
        storage.create_trigger("hourly", "orders", "0 * * * *")
        storage.create_scheduler("hourly", "orders", "hourly")
    options = ["--background", "--port", str(port), "--scheduler-names", "hourly", "--env", "SOURCE=prod"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "serve", *options],
        cwd=tmp_path,
        env={**os.environ, "DATABASE_URL": stored.conninfo},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pid = int(done.stdout)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False, verify=NO_TLS) as client:
            assert client.get("/health").json() == {"status": "up", "database": "up", "scheduler": "up"}
        assert b"SOURCE=prod" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert os.getsid(pid) == pid
    finally:
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        assert select.select([handle], [], [], 20)[0]
        os.close(handle)
