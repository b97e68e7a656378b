"""
The cursor of a run in parts: one lap of it, begun by the part that plans and ended by the one that ends last.

Each part is on a line of its own, where its rows and positions are. The whole is on the line of the cursor, so that no
other run comes there meanwhile. What stands at the cursor from the plan on says whose lap it is; it moves when the
cursors of all parts are complete, to what their loaders have reached together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cableway.errors import SourceError
from cableway.running.line import Line, added

if TYPE_CHECKING:
    from cableway.blocs.kinds import LoaderBloc
    from cableway.definition import JsonObject
    from cableway.store.port import Lease, RunStore, TakenLine


class WholeLap:
    """The lap of a run in parts, as one of its parts sees it. *taken* is the line of the cursor.

    Raise `SourceError` where another run has left the cursor in the middle.
    """

    def __init__(self, store: RunStore, lease: Lease, loader: LoaderBloc, taken: TakenLine) -> None:
        self._store = store
        self._lease = lease
        self._loader = loader
        self._run_id = taken.run_id
        refuse_parts_of_another(taken, loader)
        cursor = taken.cursor
        ours = cursor.get("run_id") == taken.run_id
        if not ours and not cursor.get("complete") and cursor.get("plan") is not None:
            raise SourceError(
                f"run {cursor.get('run_id')} has left the cursor of loader {loader.name!r} in the middle: let one run "
                "without parts finish that first"
            )
        line = Line.at({**cursor, "run_id": None}, taken.run_id, loader, kept=True)
        self._lap, self.state = (int(cursor.get("lap", 0)), {}) if ours else (line.lap, line.state)

    def mark(self) -> JsonObject:
        """What stands at the cursor while the parts are at work."""
        whole: JsonObject = {"loader": self._loader.name, "run_id": self._run_id, "parts_of": self._run_id}
        return {"lap": self._lap, "state": self.state, "plan": {}, **whole}

    def close(self) -> None:
        """Move the cursor once all parts are complete. Said twice it comes to the same."""
        cursors = self._store.part_cursors(self._lease)
        if not all(cursor.get("complete") for cursor in cursors):
            return
        reached = self._loader.reached_together([_reached(cursor) for cursor in cursors])
        counts: dict[str, int] = {}
        for cursor in cursors:
            counts = added(counts, cursor.get("counts") or {})
        done: JsonObject = {"reached": reached, "counts": counts, "complete": True}
        self._store.close_whole(self._lease, done)


def refuse_parts_of_another(taken: TakenLine, loader: LoaderBloc) -> None:
    """Raise `SourceError` where the parts of another run have read something, and not all."""
    parts_of = taken.cursor.get("parts_of")
    if parts_of is not None and parts_of != taken.run_id and not taken.cursor.get("complete"):
        raise SourceError(
            f"run {parts_of} was to move the cursor of loader {loader.name!r} and not all of its parts are through; "
            "`cableway runs retry` those that failed, or open a new line with `cableway state set` or `state reset`"
        )


def _reached(cursor: Mapping[str, Any]) -> Mapping[str, Any]:
    return cursor.get("reached") or {}
