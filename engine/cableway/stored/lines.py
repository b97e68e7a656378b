"""The lines of cursors, as people see and move them: how far each source of a pipeline was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from cableway.cursor_values import alike, decoded
from cableway.definition import JsonObject, PipelineDefinition
from cableway.errors import SourceError, UnknownNameError, UsageError
from cableway.store.executor import Step, Steps
from cableway.store.ids import new_id
from cableway.store.reading import read_version
from cableway.store.storable import storable_json, storable_text


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRow:
    """One line of a pipeline's loader. The newest of a loader is the one that its runs are on, but for backfills."""

    loader: str
    epoch: int
    """Counts the lines of the loader; setting or resetting its state begins the next.

    Those of backfills count down from -1, and no other run comes on them.
    """
    line: str
    lap: int
    """How often the source was begun anew on this line."""
    last: Any
    """The highest value of the cursor field that was seen; None: there was none yet."""
    state: JsonObject
    """What the next lap begins with."""
    complete: bool
    """Whether the last lap came to its end."""
    held: bool
    """Whether a run is at work on it now."""
    run_id: str | None
    """The run that moved it last."""
    updated_at: datetime


def read_lines(pipeline: str) -> Steps[tuple[LineRow, ...]]:
    """The lines of *pipeline*'s loaders, the newest of each first. Raise `UnknownPipelineError`."""
    yield from read_version(pipeline)
    rows = yield Step("show_lines", {"pipeline": storable_text(pipeline)})
    return tuple(_line(row) for row in rows)


def open_epoch(pipeline: str, state: JsonObject, *, loader: str | None = None) -> Steps[LineRow]:
    """Let the runs of *pipeline* that begin from now on go on from *state*; empty: from the beginning.

    *loader* is needed where several keep a cursor. Raise `UnknownNameError` where none does, or not that one, and
    `UsageError` where the value in *state* is of another kind than what the cursor field held so far.
    """
    definition = (yield from read_version(pipeline)).definition
    chosen = _loader(definition, loader)
    if state:
        lines = yield from read_lines(pipeline)
        seen = next((line for line in lines if line.loader == chosen and line.complete and line.last is not None), None)
        state = state if seen is None else {"last": _fitting(state["last"], seen.state["last"], chosen)}
    values = {"pipeline": pipeline, "loader": chosen, "line": new_id()}
    made = yield Step("open_epoch", {**values, "position": storable_json({"state": state})})
    lines = yield from read_lines(pipeline)
    epoch = made[0]["epoch"] if made else None
    return next(line for line in lines if line.loader == chosen and epoch in {None, line.epoch})


def open_backfill_epoch(pipeline: str) -> Steps[str | None]:
    """A line for the runs of a backfill, which begins with everything; None where no loader keeps a cursor.

    Raise `UnknownPipelineError`.
    """
    blocs = (yield from read_version(pipeline)).definition.stages[0].blocs
    keeping = [bloc for bloc in blocs if _moves_cursor(bloc.config.get("incremental"))]
    if not keeping:
        return None
    loader = next((bloc for bloc in keeping if bloc.config.get("batch_size") is not None), keeping[0])
    line = new_id()
    values = {"pipeline": pipeline, "loader": loader.name, "line": line}
    while not (yield Step("open_backfill_epoch", values)):
        pass  # another backfill has taken the number; it has committed by now, so that the next one is free
    return line


def _fitting(given: Any, kept: Any, loader: str) -> Any:
    """*given* so that it can be compared with values like *kept*. Raise `UsageError` where it cannot."""
    seen = decoded(kept)
    if isinstance(seen, str):
        return str(given)
    try:
        alike(given, seen)
    except SourceError as misfit:
        raise UsageError(f"loader {loader!r} was read up to {_plain(kept)}: {misfit}; give a value like it") from None
    return given


def _moves_cursor(incremental: Any) -> bool:
    return isinstance(incremental, Mapping) and cast("JsonObject", incremental).get("end_value") is None


def _loader(definition: PipelineDefinition, wanted: str | None) -> str:
    keeping = [bloc.name for bloc in definition.stages[0].blocs if bloc.config.get("incremental")]
    if wanted is None and len(keeping) == 1:
        return keeping[0]
    if wanted in keeping:
        return wanted
    known = ", ".join(keeping) or "none; give a loader of the first stage 'incremental'"
    raise UnknownNameError(f"which loader of pipeline {definition.name!r}? These keep a cursor: {known}")


def _line(row: dict[str, Any]) -> LineRow:
    cursor: JsonObject = row["cursor"]
    complete = bool(cursor.get("complete"))
    state: JsonObject = cursor.get("reached" if complete else "state") or {}
    return LineRow(
        loader=row["loader"],
        epoch=row["epoch"],
        line=row["line"],
        lap=int(cursor.get("lap", 0)),
        last=_plain(state.get("last")),
        state=state,
        complete=complete,
        held=bool(row["held"]),
        run_id=row["run_id"],
        updated_at=row["updated_at"],
    )


def _plain(value: Any) -> Any:
    return next(iter(cast("JsonObject", value).values())) if isinstance(value, dict) else value
