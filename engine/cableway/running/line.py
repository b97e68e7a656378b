"""
A run's place on its line: what the cursor says at the beginning of an attempt, and what it says from then on.

The cursor is one JSON object. ``lap`` counts how often the source was begun anew (of a run's own line it stays 0),
``plan`` is what the loader fixed when the lap began, ``position`` with ``fingerprint`` is where to go on, ``counts``
are of what lies below, ``rows`` came in and went out by then, ``reached`` is what the loader had seen, ``state`` what
this lap began with, ``complete`` says that the lap is over, and ``run_id`` whose work it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cableway.running.cursor import Mark

if TYPE_CHECKING:
    from cableway.blocs.kinds import LoaderBloc
    from cableway.context import RunContext
    from cableway.definition import JsonObject
    from cableway.running.whole import WholeLap


@dataclass(slots=True, kw_only=True)
class Line:
    """The lap that an attempt works on. *kept*: on the line of a cursor, which goes on from run to run."""

    run_id: str
    loader: LoaderBloc
    kept: bool
    lap: int = 0
    state: JsonObject = field(default_factory=dict[str, Any])
    plan: JsonObject | None = None
    position: str | None = None
    fingerprint: JsonObject = field(default_factory=dict[str, Any])
    reached: JsonObject = field(default_factory=dict[str, Any])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    rows: tuple[int, int] = (0, 0)
    """Rows that came in and went out in the attempts with which this one goes on."""
    made: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """Gives those of this attempt."""
    share: Callable[[RunContext], JsonObject] | None = None
    """Of a part: what gives its share of the run's plan."""
    whole: WholeLap | None = None
    """Of a part: the lap of the whole's cursor, where that is kept."""
    over: bool = False
    """The lap is complete, and was this run's: there is nothing left to load."""

    @classmethod
    def at(cls, cursor: Mapping[str, Any] | None, run_id: str, loader: LoaderBloc, *, kept: bool) -> Line:
        """The line as *cursor* leaves it for *run_id*. A lap that another run has ended is followed by the next."""
        cursor = cursor or {}
        ours, over = cursor.get("run_id") == run_id, bool(cursor.get("complete"))
        lap, reached = int(cursor.get("lap", 0)), dict(cursor.get("reached") or {})
        if over and not ours:
            return cls(run_id=run_id, loader=loader, kept=kept, lap=lap + 1, state=reached)
        line = cls(
            run_id=run_id,
            loader=loader,
            kept=kept,
            lap=lap,
            state=dict(cursor.get("state") or {}),
            reached=reached,
            counts=dict(cursor.get("counts") or {}) if ours else {},
            rows=_pair(cursor.get("rows")) if ours else (0, 0),
            over=over,
        )
        if not over:
            line.plan, line.position = cursor.get("plan"), cursor.get("position")
            line.fingerprint = dict(cursor.get("fingerprint") or {})
        return line

    @property
    def begun(self) -> bool:
        """Whether somebody has been at work on this lap before."""
        return self.over or self.plan is not None

    @property
    def prefix(self) -> str:
        """What the ids of this lap's items begin with."""
        return f"{self.lap}~" if self.kept else ""

    @property
    def end_key(self) -> str:
        """The key of a transaction for the whole lap."""
        return f"end~{self.lap}" if self.kept else "end"

    def begin(self, context: RunContext) -> JsonObject | None:
        """Have the loader fix what a lap fixes. Returns the cursor to be stored first, where there is one."""
        if self.plan is not None:
            return None
        plan = self.loader.plan(context, self.state) if self.share is None else self.share(context)
        self.plan = dict(plan)
        return self.cursor(Mark(None, {})) if self.plan else None

    def take_up(self, read: Collection[str] = (), *, from_start: bool) -> None:
        """Have the loader go on where the cursor stands; *from_start*: read everything again.

        Items at the positions *read* are in a destination, so that they are to come as they were. Raise
        `SourceChangedError` where another source is found than there was.
        """
        if from_start:
            self.position, self.counts, self.reached, self.rows = None, {}, {}, (0, 0)
        self.loader.follow(self.plan or {}, self.reached)
        if read:
            self.loader.recut(read)
        if self.position is not None:
            self.loader.resume(self.position, self.fingerprint)

    def adopt(self, ended: str) -> None:
        """Every exporter has committed the whole lap, so it is over: an end row holds the text that `ending` gave."""
        import json

        self.over = True
        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(ended)
            self.reached, self.counts = dict(found["reached"]), dict(found["counts"])
            self.rows = _pair(found.get("rows"))

    def ending(self, counts: Mapping[str, int], rows: tuple[int, int]) -> str:
        """What the end row of a transaction for the whole lap holds: the state of the next lap, and all counts."""
        import json

        return json.dumps({"reached": self.loader.reached(), "counts": counts, "rows": rows})

    def cursor(self, mark: Mark, *, complete: bool = False) -> JsonObject:
        """What is stored for *mark*, whose position is an item's id. Asks the loader, which may read files."""
        at = self.position if mark.position is None else mark.position.removeprefix(self.prefix)
        cursor: JsonObject = {
            "lap": self.lap,
            "loader": self.loader.name,
            "state": self.state,
            "plan": self.plan or {},
            "reached": self.reached if self.over else self.loader.reached(),
            "counts": added(self.counts, mark.counts),
            "rows": [before + now for before, now in zip(self.rows, self.made(), strict=True)],
            "run_id": self.run_id,
        }
        if complete:
            return {**cursor, "plan": {}, "complete": True}
        if at is None:
            return cursor
        fingerprint = self.fingerprint if at == self.position else self.loader.fingerprint(at)
        return {**cursor, "position": at, "fingerprint": fingerprint}


def _pair(rows: Any) -> tuple[int, int]:
    came, gone = rows or (0, 0)
    return int(came), int(gone)


def added(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """The sums of two sets of counts."""
    return {name: counts.get(name, 0) + more.get(name, 0) for name in {**counts, **more}}
