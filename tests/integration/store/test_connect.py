from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

import pytest

from cableway.errors import CablewayError, CredentialsError, SettingsError, UnavailableError
from cableway.settings import DatabaseSettings
from cableway.store import connect as connecting
from cableway.store.connect import connect, connect_async
from tests.fixtures.postgres import Postgres, running_postgres

PASSWORD_WANTED = b"R" + struct.pack("!ii", 8, 3)


def refusal(code: str, words: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{code}\0M{words}\0\0".encode()
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


@contextmanager
def server(serve: Callable[[socket.socket], object]) -> Generator[DatabaseSettings]:
    """A loopback port that speaks to callers as *serve* does."""

    def accept() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            with caller:
                serve(caller)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        port = listener.getsockname()[1]
        yield DatabaseSettings(
            host="127.0.0.1", port=port, name="etl", user="ada", password="s3cret", ssl_mode="disable"
        )
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def failure(settings: DatabaseSettings, budget_s: float) -> tuple[CablewayError, float]:
    begun = time.monotonic()
    with pytest.raises(CablewayError) as caught:
        connect(settings, budget_s)
    assert "s3cret" not in str(caught.value)
    return caught.value, time.monotonic() - begun


def test_who_waits_long_for_a_connection_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    settings = DatabaseSettings(host="127.0.0.1", port=port, name="etl", user="ada", password="s3cret")
    failure(settings, 0.3)
    assert not caplog.records
    waits: list[float] = []

    def three_times(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise InterruptedError

    monkeypatch.setattr("cableway.store.connect.time.sleep", three_times)
    monkeypatch.setattr(connecting, "TOLD_AFTER_S", 0.0)
    with pytest.raises(InterruptedError):
        connect(settings, 600)
    (record,) = caplog.records
    assert record.getMessage().endswith("cannot be reached: connection refused; trying for 600 s")


def test_a_refused_connection_is_tried_again_for_the_budget() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    settings = DatabaseSettings(host="127.0.0.1", port=port, name="etl", user="ada", password="s3cret")
    error, took_s = failure(settings, 0.7)
    assert isinstance(error, UnavailableError)
    assert f"127.0.0.1:{port}, database 'etl'" in str(error)
    assert "connection refused" in str(error)
    assert took_s < 10


def test_a_name_that_nobody_knows_is_named() -> None:
    error, _ = failure(DatabaseSettings(host="nowhere.invalid", name="etl", user="ada"), 0)
    assert isinstance(error, UnavailableError)
    assert "nowhere.invalid" in str(error)


def test_a_host_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connecting.DEFAULTS, "connect_timeout", "2")
    stop = threading.Event()
    with server(lambda _: stop.wait(10)) as settings:
        error, took_s = failure(settings, 0)
        stop.set()
    assert isinstance(error, UnavailableError)
    assert 1.5 < took_s < 8


@pytest.mark.parametrize(
    ("code", "words", "wants_password"),
    [
        ("28P01", 'password authentication failed for user "ada"', True),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "ada"', False),
        ("28000", 'role "ada" does not exist', False),
        ("28000", 'role "ada" is not permitted to log in', False),
    ],
)
def test_refused_credentials_are_not_tried_again(code: str, words: str, wants_password: bool) -> None:
    def serve(caller: socket.socket) -> None:
        caller.recv(1024)
        if wants_password:
            caller.sendall(PASSWORD_WANTED)
            caller.recv(1024)
        caller.sendall(refusal(code, words))

    with server(serve) as settings:
        error, took_s = failure(settings, 20)
    assert isinstance(error, CredentialsError)
    assert "'ada'" in str(error)
    assert took_s < 10


@pytest.mark.fault("C12")
def test_a_server_that_is_full_or_starting_is_tried_again() -> None:
    answers = iter([refusal("57P03", "the database system is starting up"), refusal("53300", "too many clients")])

    def serve(caller: socket.socket) -> None:
        caller.recv(1024)
        caller.sendall(next(answers, refusal("28P01", "password authentication failed")))

    with server(serve) as settings:
        assert isinstance(failure(settings, 20)[0], CredentialsError)


def test_a_real_server_says_what_is_not_there(postgres: Postgres) -> None:
    role, _ = failure(DatabaseSettings(url=f"postgresql://nobody@/postgres?host={postgres.socket_folder}"), 5)
    assert isinstance(role, CredentialsError)
    assert "'nobody'" in str(role)
    database, _ = failure(DatabaseSettings(url=postgres.conninfo("nothing")), 5)
    assert isinstance(database, SettingsError)
    assert "database 'nothing'" in str(database)


async def test_a_server_that_comes_late_is_waited_for() -> None:
    with running_postgres() as late:
        late.stop()
        settings = DatabaseSettings(url=late.conninfo(), connect_budget_s=20)
        starting = threading.Timer(0.3, late.start)
        starting.start()
        async with await connect_async(settings) as connection:
            assert connection.info.parameter_status("application_name") == "cableway"
        starting.join()
