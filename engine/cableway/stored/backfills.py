"""Runs that a person asks of a scheduler: one now, or one for each tick of a time that has gone by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cableway.definitions.cron_grammar import CronError
from cableway.errors import DefinitionError, Fault, UnknownNameError
from cableway.recording import NotRun, RecordedRun, Refused, RunRequest, recording
from cableway.store.executor import Row, Step, Steps
from cableway.store.ids import new_id
from cableway.store.reading import Overlap
from cableway.store.storable import storable_json, storable_text
from cableway.stored.lines import open_backfill_epoch
from cableway.stored.names import titled
from cableway.stored.tick_plans import tick_key, timetable_of

MOST_TICKS = 1000
"""Ticks that one backfill takes unless it is told otherwise."""
CEILING = 10_000
"""Ticks that it takes at most, whatever it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What a backfill came to, or, where nothing was to be done yet, would come to."""

    scheduler: str
    expression: str
    """The rule as it is today, which is what counts, also for ticks from before it was changed."""
    backfill_id: str | None
    """None: nothing was recorded."""
    ticks: tuple[datetime, ...]
    """Those that have a run by it, or would have."""
    run_ids: tuple[str, ...]
    already: int
    """Ticks that had a run before."""
    not_run: int
    """Ticks that the overlap policy wants no run of."""


def request_now(
    name: str, parameters: Mapping[str, Any] | None = None, texts: Mapping[str, str] | None = None
) -> Steps[RunRequest]:
    """The run that the scheduler would start, with *parameters* and *texts* over its own. It belongs to no tick.

    Raise `UnknownNameError` where there is no such scheduler.
    """
    row = yield from _scheduler(name)
    return RunRequest(
        pipeline=row["pipeline"],
        parameters={**row["parameters"], **(parameters or {})},
        texts=texts or {},
        scheduler_name=row["name"],
        trigger_name=row["trigger_name"],
    )


def backfill(
    name: str,
    *,
    since: datetime,
    until: datetime,
    at_most: int = MOST_TICKS,
    overlap: Overlap = "queue_all",
    dry_run: bool = False,
) -> Steps[Backfill]:
    """Record a run for each tick from *since* up to *until* that has none, the oldest first; needs a transaction.

    A tick is known by what it would be known by on time, so none is run twice. With *dry_run* nothing is recorded.
    Where a loader keeps a cursor, that stays where it is: these runs are on a line of their own, one at a time, and the
    first of them loads everything.
    Raise `UnknownNameError`; `DefinitionError` where the span is none, reaches into the future, or holds more
    than *at_most* ticks; or why the pipeline takes no such run.
    """
    row = yield from _scheduler(name)
    ticks = _ticks(row, since, until, min(at_most, CEILING))
    asked = [{"n": n, "pipeline": row["pipeline"], "key": _key(row, tick)} for n, tick in enumerate(ticks)]
    known = {found["n"] for found in (yield Step("runs_of_keys", {"wishes": storable_json(asked)}))}
    missing = [tick for number, tick in enumerate(ticks) if number not in known]
    made: list[tuple[datetime, str]] = []
    backfill_id: str | None = None
    if missing and not dry_run:
        backfill_id = new_id()
        made = yield from _recorded(row, missing, overlap)
        yield Step("mark_backfill", {"backfill_id": backfill_id, "run_ids": [run_id for _, run_id in made]})
    return Backfill(
        scheduler=name,
        expression=row["expression"],
        backfill_id=backfill_id,
        ticks=tuple(missing if dry_run else (tick for tick, _ in made)),
        run_ids=tuple(run_id for _, run_id in made),
        already=len(known),
        not_run=0 if dry_run else len(missing) - len(made),
    )


def _recorded(row: Row, ticks: Sequence[datetime], overlap: Overlap) -> Steps[list[tuple[datetime, str]]]:
    line = yield from open_backfill_epoch(row["pipeline"])
    requests = [
        RunRequest(
            pipeline=row["pipeline"],
            parameters=row["parameters"],
            key=_key(row, tick),
            line=line,
            overlap=overlap,
            scheduler_name=row["name"],
            trigger_name=row["trigger_name"],
            scheduled_at=tick,
        )
        for tick in ticks
    ]
    made: list[tuple[datetime, str]] = []
    for tick, decision in zip(ticks, (yield from recording(requests, None)), strict=True):
        match decision:
            case RecordedRun(run_id=run_id):
                made.append((tick, run_id))
            case Refused(error):
                raise error
            case NotRun():
                continue
    return made


def _ticks(row: Row, since: datetime, until: datetime, at_most: int) -> list[datetime]:
    what = titled("scheduler", row["name"])
    if since.tzinfo is None or until.tzinfo is None:
        raise _refused(what, "/from", "and /to must be times with their offset from UTC")
    if until <= since:
        raise _refused(what, "/to", "must be after /from")
    if until > row["now"]:
        raise _refused(what, "/to", "must not lie in the future: what is due then runs by itself")
    try:
        table = timetable_of(row, row["expression"])
    except CronError as error:
        raise _refused(what, "/trigger", str(error)) from None
    moment = timedelta(microseconds=1)
    number = table.count(since - moment, until - moment)
    if number > at_most:
        raise _refused(
            what, "/to", f"makes {number} ticks, and {at_most} are allowed: take a shorter time, or allow more"
        )
    return table.last(number, since - moment, until - moment) if number else []


def _scheduler(name: str) -> Steps[Row]:
    for row in (yield Step("scheduler_plans", {"name": storable_text(name)})):
        if row["name"] == name:
            return row
    raise UnknownNameError(f"no {titled('scheduler', name)}")


def _key(row: Row, tick: datetime) -> str:
    return tick_key(row["scheduler_id"], tick)


def _refused(what: str, pointer: str, message: str) -> DefinitionError:
    return DefinitionError(f"{what}: {pointer} {message}", [Fault(pointer, "invalid", message)])
