"""``cableway scheduler``, ``tick`` and ``schedulers``: run by cron, look at what is due, steer it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cableway.definitions.cron_grammar import CronError
from cableway.errors import DefinitionError, UsageError
from cableway.settings import get_environment
from cableway_handlers.cli import screen
from cableway_handlers.cli.runs import parameter_texts
from cableway_handlers.cli.workplace import workplace

if TYPE_CHECKING:
    from cableway.definitions.timetable import Fire
    from cableway.stored.outlook import SchedulerOutlook
    from cableway_handlers.cron.service import SchedulerService

LOG = Path(".cableway") / "scheduler.out"
"""What a scheduler in the background prints."""
RUNS = "the scheduler runs"

_UTC = frozenset({"UTC", "Etc/UTC"})

MARKS = {
    "": "",
    "gap": "the clocks leave its time out; first instant after it",
    "skipped": "the clocks leave its time out; not run",
    "first": "comes twice; this is the first",
    "again": "comes twice; this is the second",
}


def serve(names: str | None, env: Sequence[str], *, background: bool) -> None:
    """Run schedulers until SIGTERM or SIGINT, here or in the background."""
    from cableway_handlers.cli.background import start_in_background, variables_of

    extra = variables_of(env)
    if background:
        arguments = ["scheduler", *(() if names is None else ("--scheduler-names", names))]
        pid = start_in_background(arguments, LOG, {**get_environment(), **extra}, ready=RUNS)
        print(pid)
        screen.say(f"the scheduler is process {pid}, and `kill {pid}` ends it; what it prints goes to {LOG}")
        return
    from cableway.logs import set_up_logging
    from cableway_handlers.cron.service import SchedulerService
    from cableway_handlers.launch.sweep import Sweep
    from cableway_handlers.launch.sweep_loop import SweepLoop

    with workplace(extra) as place:
        set_up_logging(place.settings)
        wanted = _checked_names(names)
        if wanted is not None:
            with place.storage() as storage:
                for name in wanted:
                    storage.get_scheduler(name)
        sweeping = SweepLoop(Sweep.from_settings(place.settings, place.launcher()))
        service = SchedulerService(place.settings, sweeping, variables=place.environment, names=wanted)
        _stop_on_signals(service)
        screen.say(f"{RUNS}; Ctrl-C ends it")
        service.run()


def tick(names: str | None, *, json: bool) -> None:
    """Decide what is due, and start the runs that wait."""
    from cableway.store.session import Session
    from cableway_handlers.cron.ticking import decide_due
    from cableway_handlers.launch.sweep import Sweep

    with workplace() as place, closing(Session(place.settings.state_database)) as session:
        session.ensure_schema()
        decided = list(decide_due(session, names=_checked_names(names)))
        with closing(Sweep.from_settings(place.settings, place.launcher())) as sweep:
            swept = sweep.once()
    fired = [each for batch in decided for each in batch.fired]
    not_run = sum(batch.not_run for batch in decided)
    faulty = [name for batch in decided for name in batch.faulty]
    if json:
        screen.as_json({"fired": fired, "not_run": not_run, "faulty": faulty, "launched": swept.launched})
        return
    for each in fired:
        screen.say(f"{each.scheduler}: the tick of {each.tick:%Y-%m-%d %H:%M} UTC is run {each.run_id}")
    for name in faulty:
        screen.say(f"{name}: nobody can say when it is due; `cableway schedulers show {name}` says why")
    said = f"{screen.count(len(fired), 'tick')} fired, {not_run} not run"
    screen.say(f"{said}; {screen.count(swept.launched, 'run')} started")


def list_schedulers(*, json: bool) -> None:
    """Show every scheduler, with when it is due next."""
    from cableway.stored.outlook import read_outlooks

    with workplace() as place, place.storage() as storage:
        found = storage.session.drive(read_outlooks())
    if json:
        screen.as_json(found)
        return
    shown = screen.table("scheduler", "pipeline", "rule", "zone", "state", "next")
    for each in found:
        cells = (each.name, each.pipeline, each.expression or "", each.timezone, each.state, _local(each, each.next_at))
        shown.add_row(*map(screen.plain, cells))
    screen.print_table(shown, found, "there are no schedulers")


def show(name: str, limit: int, *, json: bool) -> None:
    """Show one scheduler, and what became of its last ticks."""
    from cableway.stored.outlook import read_outlook

    with workplace() as place, place.storage() as storage:
        row, outlook = storage.get_scheduler(name), storage.session.drive(read_outlook(name))
        ticks = storage.list_ticks(name, limit=limit)
    if json:
        screen.as_json({"scheduler": row, "state": outlook.state, "next_at": outlook.next_at, "ticks": ticks})
        return
    out = screen.console()
    out.print(screen.plain(f"{name}: runs {row.pipeline}, {outlook.expression} in {row.timezone}", "bold"))
    note = f": {outlook.note}" if outlook.note else ""
    out.print(screen.plain(f"state {outlook.state}{note}; next {_local(outlook, outlook.next_at) or 'never'}"))
    policies = {
        "catch-up": f"{row.catchup}, {row.catchup_window_s:g} s, at most {row.max_catchup_runs}",
        "overlap": row.overlap or "as the pipeline says",
        "jitter": f"{row.jitter_s:g} s",
        "a time that the clocks leave out": row.dst_gap,
    }
    out.print(screen.plain("; ".join(f"{key}: {value}" for key, value in policies.items())))
    shown = screen.table("tick", "until", "count", "run", "not run because of")
    for each in ticks:
        until = "" if each.tick_to == each.tick_from else _local(outlook, each.tick_to)
        reason = (each.reason or "").replace("_", " ") + (f": {each.detail}" if each.detail else "")
        cells = (_local(outlook, each.tick_from), until, f"{each.count:,}", each.run_id or "", reason)
        shown.add_row(*map(screen.plain, cells))
    screen.print_table(shown, ticks, "no tick of it was decided so far")


def preview(
    name: str | None, expression: str | None, timezone: str, begin: datetime | None, limit: int, *, json: bool
) -> None:
    """Show when a stored scheduler, or a rule, is due next."""
    from cableway.definitions.timetable import timetable
    from cableway.stored.outlook import read_outlook

    if (name is None) == (expression is None):
        raise UsageError("which one? Give either the name of a scheduler, or --expression")
    try:
        if expression is not None:
            zone = timezone
            after = _before(begin, zone) or datetime.now(ZoneInfo("UTC"))
            fires = list(islice(timetable(expression, zone).fires(after), limit))
        else:
            assert name is not None  # noqa: S101 - asked above; for the type checkers
            with workplace() as place, place.storage() as storage:
                outlook = storage.session.drive(read_outlook(name))
            zone = outlook.timezone
            fires = list(islice(outlook.fires(_before(begin, zone)), limit))
    except CronError as error:
        raise DefinitionError(f"the rule {expression or name!r}: {error}") from None
    _show_fires(fires, ZoneInfo(zone), json=json)


def pause(name: str, note: str, *, json: bool) -> None:
    """Let it start no more runs."""
    with workplace() as place, place.storage() as storage:
        row = storage.pause_scheduler(name, note)
    _say_state(row, f"{name}: paused", json=json)


def resume(name: str, *, json: bool) -> None:
    """Let a paused scheduler go on with its next tick."""
    with workplace() as place, place.storage() as storage:
        row = storage.resume_scheduler(name)
    _say_state(row, f"{name}: goes on with its next tick", json=json)


def trigger(name: str, parameters: Sequence[str], *, json: bool) -> None:
    """Record its run and start it."""
    from cableway_handlers.launch.sweep import Sweep

    texts = parameter_texts(parameters)
    with workplace() as place, place.storage() as storage:
        recorded = storage.trigger_scheduler(name, texts=texts)
        with closing(Sweep.from_settings(place.settings, place.launcher())) as sweep:
            sweep.once()
    _say_state(recorded, f"{name}: run {recorded.run_id}; `cableway runs show {recorded.run_id}` shows it", json=json)


def backfill(name: str, since: datetime, until: datetime, at_most: int, *, dry_run: bool, json: bool) -> None:
    """Record a run for each tick that has none."""
    with workplace() as place, place.storage() as storage:
        zone = ZoneInfo(storage.get_scheduler(name).timezone)
        begin, end = since.replace(tzinfo=zone), until.replace(tzinfo=zone)
        found = storage.backfill_scheduler(name, since=begin, until=end, at_most=at_most, dry_run=dry_run)
    if json:
        screen.as_json(found)
        return
    shown = screen.table(*_clocks(zone, "tick"), "run")
    for number, tick_at in enumerate(found.ticks):
        run_id = found.run_ids[number] if found.run_ids else ""
        shown.add_row(*map(screen.plain, (*_times(tick_at, zone, "%Y-%m-%d %H:%M"), run_id)))
    screen.print_table(shown, found.ticks, "every tick of that time has its run")
    said = "would be recorded" if dry_run else "recorded"
    screen.say(f"{screen.count(len(found.ticks), 'run')} {said} by {found.expression}; {found.already} were there")


def _show_fires(fires: Sequence[Fire], zone: ZoneInfo, *, json: bool) -> None:
    if json:
        local = [{"at": each.at, "local": each.at.astimezone(zone), "mark": each.mark} for each in fires]
        screen.as_json(local)
        return
    shown = screen.table(*_clocks(zone, "local"), "")
    for each in fires:
        shown.add_row(*map(screen.plain, (*_times(each.at, zone, "%a %Y-%m-%d %H:%M %z"), MARKS[each.mark])))
    screen.print_table(shown, fires, "it is never due again")


def _clocks(zone: ZoneInfo, own: str) -> tuple[str, ...]:
    """The columns of instants: *own*, by the zone's clock, and that of UTC where it is another."""
    return (own,) if zone.key in _UTC else (own, "utc")


def _times(at: datetime, zone: ZoneInfo, form: str) -> tuple[str, ...]:
    own = at.astimezone(zone).strftime(form)
    return (own,) if zone.key in _UTC else (own, f"{at:%Y-%m-%d %H:%M}")


def _say_state(what: Any, line: str, *, json: bool) -> None:
    if json:
        screen.as_json(what)
    else:
        screen.say(line)


def _local(outlook: SchedulerOutlook, instant: datetime | None) -> str:
    """An instant by the scheduler's own clock, or by UTC where its zone is none."""
    if instant is None:
        return ""
    zone = ZoneInfo("UTC" if outlook.state == "error" else outlook.timezone)
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M %z}"


def _before(begin: datetime | None, zone: str) -> datetime | None:
    """The last moment that lies before *begin* on the zone's clock."""
    from datetime import timedelta

    from cableway.definitions.cron_grammar import zone_fault

    if fault := zone_fault(zone):
        raise CronError(f"the time zone {zone[:60]!r} {fault}")
    return None if begin is None else begin.replace(tzinfo=ZoneInfo(zone)) - timedelta(microseconds=1)


def _checked_names(names: str | None) -> list[str] | None:
    if names is None:
        return None
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise UsageError("--scheduler-names takes names, with commas between them")
    return found


def _stop_on_signals(service: SchedulerService) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        service.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
