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
    """The lap of a run in parts, as one of its parts sees it. *taken*: the cursor's line; None: that is planned."""

    def __init__(self, store: RunStore, lease: Lease, loader: LoaderBloc, taken: TakenLine | None) -> None:
        self._store = store
        self._lease = lease
        self._loader = loader
        self._taken = taken

    def begin(self) -> tuple[JsonObject, JsonObject]:
        """What the lap starts from, and what stands at the cursor while the parts are at work.

        Raise `SourceError` where another run has left the cursor in the middle.
        """
        taken, loader = self._taken, self._loader
        if taken is None:
            raise AssertionError("who has a share asks for no plan")
        refuse_parts_of_another(taken, loader)
        cursor = taken.cursor
        whole: JsonObject = {"loader": loader.name, "run_id": taken.run_id, "parts_of": taken.run_id, "plan": {}}
        if cursor.get("parts_of") == taken.run_id:  # another part plans as well
            lap, state = int(cursor.get("lap", 0)), dict(cursor.get("state") or {})
        elif not cursor.get("complete") and cursor.get("plan") is not None:
            raise SourceError(
                f"run {cursor.get('run_id')} has left the cursor of loader {loader.name!r} in the middle: let one run "
                "without parts finish that first"
            )
        else:
            line = Line.at(cursor, taken.run_id, loader, kept=True)
            lap, state = line.lap, line.state
        return state, {"lap": lap, "state": state, **whole}

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
