"""``cableway run`` and ``cableway runs``: record, start, wait, show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from cableway.errors import EXIT_BUG, EXIT_OK, UsageError
from cableway.running.opening import JobRequest
from cableway.running.report import is_partial
from cableway.runs import RunRequest
from cableway.store.pages import RunFilter, page_of_runs
from cableway.store.port import ENDED, RunState
from cableway.stored.following import read_held_places, read_links
from cableway.stored.pruning import age_of
from cableway_handlers.cli import screen, show
from cableway_handlers.cli.deaths import end_lease
from cableway_handlers.cli.processes import next_launch, signals_passed_on
from cableway_handlers.cli.run_names import run_named
from cableway_handlers.cli.workplace import workplace
from cableway_handlers.launch.protocol import Launch

if TYPE_CHECKING:
    from cableway.storage import DatabaseStorage
    from cableway.store.reading import RunDetails
    from cableway_handlers.launch.local import LocalLauncher

LOG_LINES = 20
"""Lines of a job's log that are shown when its run's row does not say what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks to be run."""

    what: str | None
    """The name of a stored pipeline, or the id of a recorded run."""
    file: str | None
    parameters: Sequence[str]
    key: str | None
    limit: int | None
    dry_run: bool
    first: str | None
    last: str | None
    given: Sequence[str]
    partial_ok: bool
    parts: int | None = None
    """So many parts; None: it is one run."""


def run(wish: Wish, *, verbose: bool, json: bool) -> int:
    """Run a pipeline by name, a recorded run by its id, or a file; return the exit code.

    What is recorded runs as a process of its own; SIGINT and SIGTERM are passed on to it, and it drains.
    """
    from cableway_handlers.cli.trial import excerpt, given_data, try_out

    texts = parameter_texts(wish.parameters)
    if (wish.what is None) == (wish.file is None):
        raise UsageError("which one? Give either the name of a pipeline, the id of a run, or --file")
    given = given_data(wish.given)
    part = excerpt(limit=wish.limit, dry_run=wish.dry_run, first=wish.first, last=wish.last, given=given)
    if wish.parts is not None:
        if wish.what is None or part is not None or _is_id(wish.what):
            raise UsageError("--parts is for a stored pipeline, by its name, and for all of it")
        from cableway_handlers.cli.run_parts import run_parts

        request = RunRequest(pipeline=wish.what, texts=texts, key=wish.key)
        return run_parts(request, wish.parts, verbose=verbose, json=json)
    if wish.what is not None and part is None:
        return _run_recorded(wish, wish.what, texts, verbose=verbose, json=json)
    if wish.key is not None:
        raise UsageError("--key is for runs that are recorded: a file or a part of a pipeline has none")
    if wish.what is not None and _is_id(wish.what):
        raise UsageError("a recorded run is run as it is; a part is tried out of a pipeline, by its name")
    job = JobRequest(pipeline=wish.what, file=wish.file, parameters=texts, excerpt=part, partial_ok=wish.partial_ok)
    return try_out(job, verbose=verbose, json=json)


def _run_recorded(wish: Wish, what: str, texts: dict[str, str], *, verbose: bool, json: bool) -> int:
    with workplace() as place, place.storage() as storage:
        launcher = place.launcher(show_log=verbose)
        launch = next_launch(launcher, _launch(storage, what, texts, wish.key))
        code: int | None = EXIT_OK
        if not _has_ended(storage, launch):
            code = _run(launcher, launch, quiet=json)
            end_lease(place, launcher, launch, code)
        details = storage.get_run(launch.run_id)
        if json:
            screen.as_json(details)
        else:
            _show_end(details, launcher.log_file(launch), code)
        if wish.partial_ok and details.run.error is not None:
            rows = storage.session.rows("profile", run_id=launch.run_id)
            if rows and is_partial(details.run.error, rows[0]["profile"]):
                return EXIT_OK
    return code if code is not None else _recorded_code(details)


def list_runs(pipeline: str | None, state: RunState | None, since: str | None, limit: int, *, json: bool) -> None:
    """Show the newest runs that are asked for."""
    wanted = RunFilter(pipeline=pipeline, state=state, since=None if since is None else _instant_of(since))
    with workplace() as place, place.storage() as storage:
        rows = storage.session.drive(page_of_runs(None, limit, None, wanted))
    if json:
        screen.as_json(rows)
    else:
        show.runs_table(rows)


def show_run(name: str, *, json: bool) -> None:
    """Show the run *name* with its stages, its failures and its trace."""
    with workplace() as place, place.storage() as storage:
        run_id = run_named(storage, name)
        details = storage.get_run(run_id)
        letters, spans = storage.list_dead_letters(run_id), storage.list_spans(run_id)
        links = storage.session.drive(read_links(run_id))
        limits = storage.session.drive(read_held_places(run_id))
    if json:
        parts = {"attempts": details.attempts, "stages": details.stages, "linked_runs": links, "limits": limits}
        screen.as_json({"run": details.run, **parts, "spans": spans})
        return
    show.run_summary(details, trace=not spans)
    show.attempts_table(details.attempts)
    show.linked_runs(links, limits)
    show.dead_letters_table(letters)
    show.run_spans(spans)


def parameter_texts(parameters: Sequence[str]) -> dict[str, str]:
    """What ``-p NAME=VALUE`` says, by name. Raise `UsageError` where one does not."""
    texts: dict[str, str] = {}
    for parameter in parameters:
        name, equals, text = parameter.partition("=")
        if not name or not equals:
            raise UsageError(f"-p takes NAME=VALUE, and {name!r} is not that")
        texts[name] = text
    return texts


def _instant_of(text: str) -> datetime:
    """An age before now, or an instant; one that names no zone is of this machine's."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) - age_of(text)
    return found.astimezone()


def _launch(storage: DatabaseStorage, what: str, texts: dict[str, str], key: str | None) -> Launch:
    if _is_id(what):
        if texts or key is not None:
            raise UsageError("a recorded run has its parameters and key already: give its id alone")
        return Launch(what, storage.get_run(what).run.attempt + 1)
    recorded = storage.record_run(RunRequest(pipeline=what, texts=texts, key=key))
    if recorded.created:
        return Launch(recorded.run_id, 1)
    screen.say(f"the key {key!r} has made run {recorded.run_id} before")
    return Launch(recorded.run_id, storage.get_run(recorded.run_id).run.attempt + 1)


def _has_ended(storage: DatabaseStorage, launch: Launch) -> bool:
    """Whether there is nothing to begin, or so it says; and what is waited for, where others are at work on it."""
    if launch.attempt == 1:  # the first that there is of it
        return False
    state = storage.get_run(launch.run_id).run.state
    if state in ENDED:
        screen.say(f"run {launch.run_id} has ended before, so nothing is begun")
    elif state in {RunState.RUNNING, RunState.CANCELLING}:
        screen.say(f"an attempt holds run {launch.run_id}; its end is waited for, or that of its lease")
    return state in ENDED


def _run(launcher: LocalLauncher, launch: Launch, *, quiet: bool) -> int | None:
    external_id = launcher.launch(launch)
    with signals_passed_on(lambda: launcher.stop(external_id), "stopping: the run drains; once more ends it at once"):
        if not quiet:
            screen.say(f"run {launch.run_id} started; its log is {launcher.log_file(launch)}")
        return launcher.wait(external_id)


def _show_end(details: RunDetails, log: Path, code: int | None) -> None:
    run = details.run
    if code and run.error is None:
        screen.say("".join(log.read_text(errors="replace").splitlines(keepends=True)[-LOG_LINES:]).rstrip())
    if run.ended_at is None:
        screen.say(f"run {run.run_id} has not ended: it is {run.state}; `cableway run {run.run_id}` tries again")
        return
    show.run_summary(details)
    screen.say(f"`cableway runs show {run.run_id}` shows its trace")
    if (run.counts or {}).get("failed"):
        screen.say(f"`cableway dead-letters list --run {run.run_id}` shows what failed, and why")


def _recorded_code(details: RunDetails) -> int:
    return EXIT_BUG if details.run.exit_code is None else details.run.exit_code


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
