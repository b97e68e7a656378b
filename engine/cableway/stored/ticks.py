"""
The one decision about ticks: which schedulers are due, which of their ticks are run, and what is on record.

The loop, a function in a cloud and the command line all take these steps, each in a transaction of its own. Whoever
has a scheduler in hand holds its row, and others pass it by; so any number of them may work side by side, none is
a leader, and a tick is decided once. What time it is the database says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cableway.errors import UnknownPipelineError
from cableway.recording import Decision, NotRun, RecordedRun, RunRequest, recording
from cableway.store.executor import Row, Step, Steps
from cableway.store.storable import storable_json, storable_text
from cableway.stored.tick_plans import LOOK_AGAIN, Cover, Reason, TickPlan, held_back, joined, plan_ticks, tick_key

if TYPE_CHECKING:
    from cableway.settings import DatabaseSettings

BATCH = 500
"""Schedulers that one transaction decides; others take the next ones meanwhile."""

log = logging.getLogger("cableway.scheduler")


@dataclass(frozen=True, slots=True, kw_only=True)
class FiredTick:
    """A tick and the run that it made."""

    scheduler: str
    tick: datetime
    run_id: str
    not_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedTicks:
    """What one decision came to."""

    now: datetime | None = None
    """The time by which it was decided; None where nobody was due."""
    schedulers: int = 0
    fired: tuple[FiredTick, ...] = ()
    not_run: int = 0
    """Ticks that are on record with the reason why there is no run."""
    faulty: tuple[str, ...] = ()
    """Schedulers of which nobody can say when they are due."""
    more: bool = False
    """Others may be due, too: decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRow:
    """A tick that made a run, or ticks in a row that made none for one reason."""

    scheduler_name: str
    tick_from: datetime
    tick_to: datetime
    count: int
    reason: Reason | None
    run_id: str | None
    detail: str | None
    decided_at: datetime


def read_ticks(name: str, *, limit: int = 100) -> Steps[tuple[TickRow, ...]]:
    """What was decided about the scheduler's ticks, the latest first."""
    rows = yield Step("ticks", {"name": storable_text(name), "limit": limit})
    return tuple(TickRow(**row) for row in rows)


def decide(
    settings: DatabaseSettings,
    *,
    now: datetime | None = None,
    names: Sequence[str] | None = None,
    limit: int = BATCH,
) -> Steps[DecidedTicks]:
    """Decide the ticks of schedulers that are due at *now*, by default at the database's time; only of *names*, if any.

    To be driven inside a transaction. Afterwards the runs are recorded, and have to be launched.
    """
    rows = yield Step("due_schedulers", {"now": now, "names": _listed(names), "limit": limit})
    decided = yield from _decide(rows, settings)
    return replace(decided, more=len(rows) == limit)


def decide_before_change(names: Sequence[str]) -> Steps[DecidedTicks]:
    """Decide what the schedulers of these names have been due for until now, whether they would be looked at or not.

    Whoever changes a rule begins with it, in the same transaction: what was due by the old rule is decided by it, and
    the new one begins now. Nobody else decides about them until the transaction ends.
    """
    rows = (yield Step("schedulers_in_hand", {"now": None, "names": list(names)})) if names else []
    return (yield from _decide(rows, None, begin_anew=True))


def _decide(rows: list[Row], settings: DatabaseSettings | None, *, begin_anew: bool = False) -> Steps[DecidedTicks]:
    if not rows:
        return DecidedTicks()
    triggers = sorted({row["trigger_name"] for row in rows})
    rules = {rule["name"]: rule for rule in (yield Step("rules_of_triggers", {"names": triggers}))}
    plans = [(row, _plan(row, rules[row["trigger_name"]])) for row in rows]
    wishes = [_wish(row, tick) for row, plan in plans for tick in plan.ticks]
    decisions = yield from recording(wishes, settings)
    fired, covers = _outcomes(plans, wishes, decisions)
    parameters = {
        "ticks": storable_json([*_fired_rows(fired, plans), *_cover_rows(covers)]),
        "plans": storable_json([_settled(row, plan, begin_anew=begin_anew) for row, plan in plans]),
    }
    yield Step("settle_ticks", parameters)
    return DecidedTicks(
        now=rows[0]["now"],
        schedulers=len(rows),
        fired=tuple(fired),
        not_run=sum(cover.count for _, cover in covers),
        faulty=tuple(row["name"] for row, plan in plans if plan.error is not None),
    )


def _plan(row: Row, rule: Row) -> TickPlan:
    try:
        plan = plan_ticks(row, rule["expression"], row["now"], resting=row["paused"] or not rule["enabled"])
    except Exception as error:
        # Whatever is the matter with this one, it must keep no other back.
        log.exception("the scheduler %r could not be reckoned", row["name"])
        return TickPlan(next_at=row["now"] + LOOK_AGAIN, error=f"{type(error).__name__}: {error}"[:500])
    if plan.error is not None and plan.error != row["error"]:
        log.error("the scheduler %r is not run: %s", row["name"], plan.error)
    return plan


def _wish(row: Row, tick: datetime) -> RunRequest:
    return RunRequest(
        pipeline=row["pipeline"],
        parameters=row["parameters"],
        key=tick_key(row["scheduler_id"], tick),
        overlap=row["overlap"],
        scheduler_name=row["name"],
        trigger_name=row["trigger_name"],
        scheduled_at=tick,
        not_before=held_back(row["scheduler_id"], tick, row["jitter_s"]),
    )


def _outcomes(
    plans: Sequence[tuple[Row, TickPlan]], wishes: Sequence[RunRequest], decisions: Sequence[Decision]
) -> tuple[list[FiredTick], list[tuple[Row, Cover]]]:
    fired: list[FiredTick] = []
    covers: list[tuple[Row, Cover]] = []
    answers = zip(wishes, decisions, strict=True)
    for row, plan in plans:
        refused: list[Cover] = []
        for wish, decision in (next(answers) for _ in plan.ticks):
            tick = wish.scheduled_at
            assert tick is not None  # noqa: S101 - it was set above; for the type checkers
            if isinstance(decision, RecordedRun):
                run = FiredTick(scheduler=row["name"], tick=tick, run_id=decision.run_id, not_before=wish.not_before)
                fired.append(run)
                covers += ((row, cover) for cover in joined(refused))
                refused = []
            else:
                reason, detail = _why(decision)
                refused.append(Cover(first=tick, last=tick, count=1, reason=reason, detail=detail))
        covers += ((row, cover) for cover in (*joined(refused), *plan.covers))
    return fired, covers


def _why(decision: Decision) -> tuple[Reason, str | None]:
    if isinstance(decision, NotRun):
        return decision.reason, None
    assert not isinstance(decision, RecordedRun)  # noqa: S101 - as above
    reason: Reason = "no_pipeline" if isinstance(decision.error, UnknownPipelineError) else "refused"
    return reason, str(decision.error)[:500]


def _fired_rows(fired: Sequence[FiredTick], plans: Sequence[tuple[Row, TickPlan]]) -> Iterator[Mapping[str, Any]]:
    by_name = {row["name"]: row for row, _ in plans}
    for each in fired:
        at = each.tick.isoformat()
        row = by_name[each.scheduler]
        yield {**_owner(row), "tick_from": at, "tick_to": at, "count": 1, "run_id": each.run_id}


def _cover_rows(covers: Sequence[tuple[Row, Cover]]) -> Iterator[Mapping[str, Any]]:
    for row, cover in covers:
        yield {
            **_owner(row),
            "tick_from": cover.first.isoformat(),
            "tick_to": cover.last.isoformat(),
            "count": cover.count,
            "reason": cover.reason,
            "detail": cover.detail,
        }


def _owner(row: Row) -> Mapping[str, Any]:
    return {"scheduler_id": row["scheduler_id"], "scheduler_name": row["name"], "pipeline": row["pipeline"]}


def _settled(row: Row, plan: TickPlan, *, begin_anew: bool) -> Mapping[str, Any]:
    # One that nobody could read stays undecided, so that what it missed shows once somebody can.
    decided_to = row["decided_to"] if plan.error is not None and not begin_anew else row["now"]
    next_at = None if plan.next_at is None else plan.next_at.isoformat()
    return {
        "scheduler_id": row["scheduler_id"],
        "decided_to": decided_to.isoformat(),
        "next_at": next_at,
        "error": plan.error,
    }


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
