"""What Postgres says is heard, however it comes."""

from __future__ import annotations

import selectors
import socket
from contextlib import closing
from time import monotonic

import psycopg

from cableway.settings import DatabaseSettings
from cableway.store.hearing import Ear
from cableway.store.session import Session


def test_a_word_that_was_read_behind_an_answer_is_heard(state: DatabaseSettings) -> None:
    stopped, stop = socket.socketpair()
    with stopped, stop, closing(Session(state)) as session:
        ear = Ear(session, "hear_launches")
        ear.listen()
        mine = session.connection().pgconn
        with psycopg.connect(str(state.url), autocommit=True) as other:
            other.execute("SELECT pg_notify('cableway_launch', 'cableway')")
        with selectors.DefaultSelector() as selector:
            selector.register(mine.socket, selectors.EVENT_READ)
            assert selector.select(20)
        mine.consume_input()  # as who waits for an answer does
        began = monotonic()
        ear.wait(30, stopped.fileno())
        assert monotonic() - began < 15
