"""The rows of a COPY as the server sends them, many taken at a time.

psycopg's own iterator makes a few Python calls for each row, which is most of the time that reading takes. This one
asks libpq for row after row in one loop and waits for the server only where nothing has come.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from psycopg import Connection
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.sql import Composable
from psycopg.waiting import Ready, Wait

Steps = Generator[Wait, Ready | int, Any]
Row = bytes | bytearray | memoryview


class CopyOut:
    """A COPY TO STDOUT over *connection*, which does nothing else until all rows are taken.

    Raise psycopg's errors.
    """

    def __init__(self, connection: Connection[Any], statement: Composable) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self.ended = False
        """Whether the last row was taken."""
        connection.wait(self._begin(statement.as_bytes(connection)))

    def take(self, data: bytearray, rows: int | None = None) -> tuple[int, Row]:
        """Append the next *rows* rows to *data*, or all. Return how many there were, and the last of them."""
        taken: tuple[int, Row] = self._connection.wait(self._take(data, rows))
        return taken

    def _begin(self, statement: bytes) -> Steps:
        libpq = self._libpq
        libpq.send_query(statement)
        while libpq.flush():
            if (yield Wait.RW) & Ready.R:
                libpq.consume_input()
        yield from self._wait_for_result()
        result = libpq.get_result()
        if result is None or result.status != ExecStatus.COPY_OUT:
            yield from self._finish(result)

    def _take(self, data: bytearray, rows: int | None) -> Steps:
        get, count, last = self._libpq.get_copy_data, 0, memoryview(b"")
        while not self.ended and count != rows:
            size, row = get(1)
            if size > 0:
                data += row
                last = row
                count += 1
            elif size == 0:
                while not (yield Wait.R):
                    pass
                self._libpq.consume_input()
            else:
                self.ended = True
                yield from self._finish(None)
        return count, last

    def _finish(self, failed: Any) -> Steps:
        """Take what says how it ended; *failed* is a result that says so already."""
        while True:
            yield from self._wait_for_result()
            result = self._libpq.get_result()
            if result is None:
                break
            if result.status != ExecStatus.COMMAND_OK:
                failed = result
        if failed is not None:
            raise error_from_result(failed, encoding="utf-8")

    def _wait_for_result(self) -> Steps:
        while self._libpq.is_busy():
            while not (yield Wait.R):
                pass
            self._libpq.consume_input()
