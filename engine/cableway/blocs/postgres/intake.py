"""What becomes of an item's rows at a table: columns made to fit, then copied or merged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from psycopg import Connection
from psycopg.errors import DeadlockDetected, SerializationFailure

from cableway.blocs.postgres.merge import merge
from cableway.blocs.postgres.table import Target

log = logging.getLogger("cableway.blocs.postgres.exporter")

NewColumns = Literal["evolve", "freeze", "discard"]
T = TypeVar("T")

CONFLICT_TRIES = 5
"""How often a transaction is tried that another one gets in the way of."""
_FIRST_WAIT_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How rows are written: told apart by *key* where *merges*, and with new columns dealt with."""

    key: tuple[str, ...] = ()
    merges: bool = False
    new_columns: NewColumns = "freeze"


class Intake:
    """One table's, for the life of a run. `columns` are those that it is known to have, with their types."""

    def __init__(self, target: Target, manner: Manner) -> None:
        self.target = target
        self.manner = manner
        self.columns: Mapping[str, str] = {}
        self.discarded: dict[str, int] = {}

    def fits(self, table: Any) -> bool:
        """Whether `prepare` would have nothing to do for the rows of the Arrow *table*."""
        if not self.columns:
            return False
        return self.manner.new_columns != "evolve" or all(name in self.columns for name in table.column_names)

    def prepare(self, connection: Connection[Any], table: Any) -> None:
        """Make the table where there is none, or add the columns that *table* has and it has not."""
        target, manner = self.target, self.manner
        columns = target.columns(connection)
        if not columns:
            columns = target.make(connection, table, manner.key)
        elif manner.new_columns == "evolve" and any(name not in columns for name in table.column_names):
            columns = target.widen(connection, table, columns)
        if manner.merges:
            target.require_key(connection, manner.key, columns)
        self.columns = columns

    def put(self, connection: Connection[Any], table: Any) -> int:
        """Write the rows of the Arrow *table*, and return how many. Inside a transaction."""
        rows = self._known(table)
        if self.manner.merges:
            return merge(connection, self.target, rows, self.columns, self.manner.key)
        return self.target.copy(connection, rows, self.columns)

    @contextmanager
    def unless_undone(self) -> Generator[None]:
        """Forget the columns that were added inside, where an error takes them away again."""
        before = self.columns
        try:
            yield
        except Exception:
            self.columns = before
            raise

    def _known(self, table: Any) -> Any:
        if self.manner.new_columns != "discard":
            return table
        names: list[str] = table.column_names
        unknown = [name for name in names if name not in self.columns]
        for name in unknown:
            if name not in self.discarded:
                log.warning("%s has no column %r: its values are discarded", self.target.where, name)
            self.discarded[name] = self.discarded.get(name, 0) + table.num_rows
        return table.drop_columns(unknown) if unknown else table


def despite_conflicts(write: Callable[[], T]) -> T:
    """What *write*, a whole transaction or savepoint, gives; done again when a deadlock or the like undid it."""
    for attempt in range(1, CONFLICT_TRIES):
        try:
            return write()
        except (DeadlockDetected, SerializationFailure):
            time.sleep(_FIRST_WAIT_S * 2**attempt)
    return write()
