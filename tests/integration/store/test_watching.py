from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

import pytest

from cableway.errors import UnavailableError
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage, TriggerChange
from cableway.stored.watching import TriggerWatch

Heard = queue.SimpleQueue[TriggerChange]
Start = Callable[[float], Heard]


@pytest.fixture
def start(state: DatabaseSettings) -> Iterator[Start]:
    """Starts a watch that asks every so many seconds, and gives what it hears."""
    watches: list[TriggerWatch] = []

    def starter(poll_s: float) -> Heard:
        heard: Heard = queue.SimpleQueue()
        watches.append(TriggerWatch(state, heard.put, poll_s=poll_s))
        watches[-1].start()
        return heard

    yield starter
    for watch in watches:
        watch.stop()


def following(heard: Heard) -> tuple[str, str, str]:
    change = heard.get(timeout=20)
    return change.kind, change.name, change.change


def test_changes_of_others_are_heard_at_once(storage: DatabaseStorage, start: Start) -> None:
    storage.create_trigger("before", "numbers", "0 * * * *")
    heard = start(3600)
    storage.create_trigger("t", "numbers", "0 * * * *")
    assert following(heard) == ("trigger", "t", "created")
    storage.create_scheduler("s", "numbers", "t")
    assert following(heard) == ("scheduler", "s", "created")
    storage.update_scheduler("s", paused=True)
    assert following(heard) == ("scheduler", "s", "updated")
    storage.delete_scheduler("s")
    assert following(heard) == ("scheduler", "s", "deleted")
    storage.create_bloc("b", "csv_loader", {"file_path": "x.csv"})
    storage.delete_trigger("before")
    assert following(heard) == ("trigger", "before", "deleted")
    assert heard.empty()


def test_what_nobody_tells_is_found_by_asking(storage: DatabaseStorage, start: Start) -> None:
    storage.create_trigger("t", "numbers", "0 * * * *")
    heard = start(0.05)
    storage.session.connection().execute("UPDATE cableway.triggers SET revision = revision + 1")
    assert following(heard) == ("trigger", "t", "updated")
    storage.session.connection().execute(
        "UPDATE cableway.triggers SET revision = 1, created_at = created_at + interval '1 second'"
    )
    assert following(heard) == ("trigger", "t", "updated")


def test_a_connection_that_was_cut_off_is_made_again(storage: DatabaseStorage, start: Start) -> None:
    heard = start(0.2)
    storage.session.connection().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    storage.create_trigger("t", "numbers", "0 * * * *")
    assert following(heard) == ("trigger", "t", "created")


def test_a_listener_that_raises_hears_the_next_change(
    storage: DatabaseStorage, state: DatabaseSettings, caplog: pytest.LogCaptureFixture
) -> None:
    heard: Heard = queue.SimpleQueue()

    def hear(change: TriggerChange) -> None:
        heard.put(change)
        raise RuntimeError(change.name)

    watch = TriggerWatch(state, hear, poll_s=3600)
    watch.start()
    for name in ("a", "b"):
        storage.create_trigger(name, "numbers", "0 * * * *")
        assert following(heard) == ("trigger", name, "created")
    watch.stop()
    assert "a listener failed on trigger 'a'" in caplog.text


def test_without_a_database_it_does_not_start() -> None:
    watch = TriggerWatch(DatabaseSettings(host="127.0.0.1", port=1, name="x", user="x"), print)
    with pytest.raises(UnavailableError):
        watch.start()
    watch.stop()
