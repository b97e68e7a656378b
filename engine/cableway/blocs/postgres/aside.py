"""
A table that the parts of a run build together, beside the one whose place it takes when the last of them ends.

It is named by the whole run. Items are written to it as by ``append``, so a part that dies goes on where it was, and
what stands in it is nobody's until it is put in its place: once, in one transaction, with the old table's name.

In the ledger the whole has a line of its own: a row for each part that is through, and an ``end`` row. A row of the
part's own line says which whole it belongs to: single items that are replayed before that has ended go aside too.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cableway import failpoints
from cableway.blocs.postgres.faults import said_anew
from cableway.blocs.postgres.ledger import END, Ledger
from cableway.blocs.postgres.swap import Swap
from cableway.blocs.postgres.writers import LOCK_TIMEOUT, SESSION, Connect, ItemByItem
from cableway.errors import SinkError

if TYPE_CHECKING:
    from psycopg import Connection

    from cableway.blocs.kinds import Ending, PartPlace
    from cableway.blocs.postgres.intake import Intake
    from cableway.blocs.postgres.table import Target

ASIDE = "aside"
"""The key of the row that says, on the line of a whole, how its table is called, and on that of a part, whose it is."""
_NO_LAP = -1
"""The lap of such rows, so that they are among no lap's keys."""


class BuiltAside:
    """The writer of one part. *intake* and *ledger* are as for `ItemByItem`; the target is the table to be replaced."""

    def __init__(
        self, connect: Connect, intake: Intake, ledger: Ledger, part: PartPlace, *, lock_timeout_s: float
    ) -> None:
        self._connect = connect
        self._target = intake.target
        self._swap = Swap.of(intake.target, part.line)
        intake.target = self._swap.aside
        self._items = ItemByItem(connect, intake, ledger, lock_timeout_s=lock_timeout_s)
        self._ledger = ledger
        self._whole = _of_whole(ledger, part.line)
        self._part = part
        self._lock_timeout = f"{round(lock_timeout_s * 1000)}ms"
        self._done = False

    def open(self) -> None:
        """Shut older attempts out, and make the new table unless another part has. Raise `SinkError` as `Swap.make`."""
        self._items.open()
        with said_anew(self._target.where), closing(self._connect()) as connection, connection.transaction():
            connection.execute(SESSION, (self._lock_timeout,))
            self._swap.aside.lock(connection)
            self._whole.refuse_pruned(connection)
            self._done = self._whole.end(connection) is not None
            if self._done:
                return
            replace(self._ledger, lap=_NO_LAP).add(connection, ASIDE, self._part.line)
            begun = not replace(self._whole, lap=_NO_LAP).add(connection, ASIDE, self._swap.aside.table)
            if not begun and self._target.columns(connection):
                self._swap.make(connection)

    def write(self, key: str, table: Any) -> int:
        """As of `ItemByItem`; 0 where the whole is in its place."""
        return 0 if self._done else self._items.write(key, table)

    def close(self, ending: Ending) -> None:
        """Say that this part is through and, where all are, put the table in its place."""
        self._items.close(ending)
        if not ending.commits or self._done:
            return
        with said_anew(self._target.where), closing(self._connect()) as connection:
            with connection.transaction():
                connection.execute(SESSION, ("0",))
                self._target.lock(connection)  # a run that writes the table as a whole is waited for
                connection.execute(LOCK_TIMEOUT, (self._lock_timeout,))
                self._end(connection)
                self._ledger.hold_fence(connection)
                failpoints.reach("before_commit")
            failpoints.reach("after_commit")

    def _end(self, connection: Connection[Any]) -> None:
        if self._whole.end(connection) is not None:
            return
        self._whole.add(connection, f"part {self._part.number}", str(self._part.number))
        if self._whole.count(connection) < self._part.parts:
            return
        if self._swap.aside.columns(connection):
            self._swap.place(connection)
        self._whole.add_end(connection, END)


def place_of_replay(connection: Connection[Any], ledger: Ledger, target: Target) -> Target:
    """Where single items go that are replayed into *target*: aside, where they are of a part whose whole is not done.

    Raise `SinkError` where that is not kept any more.
    """
    ledger.prepare(connection)
    line = replace(ledger, lap=_NO_LAP).position(connection, ASIDE)
    if line is None:
        return target
    whole = _of_whole(ledger, line)
    whole.refuse_pruned(connection)
    if whole.end(connection) is not None:
        return target
    aside = Swap.of(target, line).aside
    if not aside.columns(connection):
        raise SinkError(f"{target.where}: what the parts of the run have built aside is not there any more")
    return aside


def _of_whole(ledger: Ledger, line: str) -> Ledger:
    return replace(ledger, line=line, lap=0, end_key=END)
