"""``cableway dead-letters``, ``cableway runs replay`` and ``cableway runs retry``."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import dataclass

from cableway.errors import UnknownNameError, UsageError
from cableway.replays import LetterWish, Replayed
from cableway.store.pages import LetterFilter, LetterRow, page_of_dead_letters
from cableway_handlers.cli import runs, screen
from cableway_handlers.cli.workplace import workplace

_MESSAGE_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """Which dead letters the command line means."""

    run: str | None = None
    pipeline: str | None = None
    stage: str | None = None
    bloc: str | None = None
    error: str | None = None
    limit: int

    @property
    def narrows(self) -> bool:
        """Whether it says anything at all."""
        return any((self.run, self.pipeline, self.stage, self.bloc, self.error))


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How they are worked on again."""

    version: int | None
    latest: bool
    wait: bool
    """Run it here and now, instead of leaving it to a scheduler."""


def list_letters(meant: Meant, state: str | None, *, json: bool) -> None:
    """List the newest that are meant."""
    wanted = LetterFilter(
        run_id=meant.run,
        pipeline=meant.pipeline,
        state=state,
        stage=meant.stage,
        bloc=meant.bloc,
        error_type=meant.error,
    )
    with workplace() as place, place.storage() as storage:
        rows = storage.session.drive(page_of_dead_letters(None, meant.limit, None, wanted))
    if json:
        screen.as_json(rows)
        return
    table = screen.table("id", "state", "pipeline", "stage", "bloc", "item", "error", "message", "when")
    for row in rows:
        message = row.message if len(row.message) <= _MESSAGE_CHARS else f"{row.message[:_MESSAGE_CHARS]}..."
        where = (row.pipeline, row.stage, row.bloc, row.item_id)
        cells = (str(row.letter_id), row.state, *where, row.error_type, message, screen.when(row.created_at))
        table.add_row(*map(screen.plain, cells))
    screen.print_table(table, rows, "there are no dead letters")


def show_letter(letter_id: int, *, stack: bool, json: bool) -> None:
    """Show one. Raise `UnknownNameError` where there is none."""
    with workplace() as place, place.storage() as storage:
        rows = storage.session.drive(page_of_dead_letters(None, 1, None, LetterFilter(letter_id=letter_id)))
    if not rows:
        raise UnknownNameError(f"no dead letter {letter_id}")
    if json:
        screen.as_json(rows[0])
    else:
        _print(rows[0], stack=stack)


def replay(meant: Meant, how: How, letters: Sequence[int] | None, *, json: bool) -> int:
    """Have them worked on again; the exit code of the first run that did not end well, else 0."""
    if not letters and not meant.narrows:
        raise UsageError("which dead letters? Give their ids, or --run, --pipeline, --stage, --bloc or --error")
    wish = LetterWish(
        run_id=meant.run,
        letters=letters or None,
        pipeline=meant.pipeline,
        stage=meant.stage,
        bloc=meant.bloc,
        error_type=meant.error,
        limit=meant.limit,
        version=how.version,
        latest=how.latest,
    )
    if how.latest and how.version is not None:
        raise UsageError("--version and --latest exclude each other")
    with workplace() as place, place.storage() as storage:
        made = storage.replay(wish)
    return _run(made, wait=how.wait, json=json)


def replay_run(meant: Meant, how: How, *, failed: bool, json: bool) -> int:
    """Have what failed in a run worked on again."""
    if not failed:
        raise UsageError("what of it? --failed works on its dead letters again; `cableway runs retry` on everything")
    return replay(meant, how, None, json=json)


def retry(run_id: str, first: str | None, *, wait: bool, json: bool) -> int:
    """One more attempt at a run or, with the stage *first*, a run that works on everything again."""
    with workplace() as place, place.storage() as storage:
        if first is not None:
            return _run([storage.redo_run(run_id, first)], wait=wait, json=json)
        state = storage.retry_run(run_id)
    if not wait:
        if json:
            screen.as_json({"run_id": run_id, "state": state})
        else:
            screen.say(f"run {run_id} is {state} again")
        return 0
    return _wait_for(run_id, json=json)


def _run(made: Sequence[Replayed], *, wait: bool, json: bool) -> int:
    if not wait:
        if json:
            screen.as_json(made)
            return 0
        for each in made:
            screen.say(f"run {each.run_id} waits: {_words_of(each)}")
        return 0
    codes: list[int] = []
    for each in made:
        screen.say(f"run {each.run_id}: {_words_of(each)}")
        codes.append(_wait_for(each.run_id, json=json))
    return next((code for code in codes if code), 0)


def _words_of(made: Replayed) -> str:
    letters = screen.count(made.letters, "dead letter")
    return f"{letters} of run {made.replay_of}, from stage {made.stage!r} on"


def _wait_for(run_id: str, *, json: bool) -> int:
    wish = runs.Wish(
        what=run_id,
        file=None,
        parameters=(),
        key=None,
        limit=None,
        dry_run=False,
        first=None,
        last=None,
        given=(),
        partial_ok=False,
    )
    return runs.run(wish, verbose=False, json=json)


def _print(row: LetterRow, *, stack: bool) -> None:
    out = screen.console()
    place = f"{row.pipeline}, stage {row.stage}, bloc {row.bloc}, item {row.item_id}"
    out.print(screen.plain(f"dead letter {row.letter_id}: {place}"))
    again = "" if row.replay_run_id is None else f", worked on again by run {row.replay_run_id}"
    out.print(screen.plain(f"run {row.run_id}, attempt {row.attempt}; {row.state}{again}"))
    out.print(
        screen.plain(f"{row.error_type} after {screen.count(row.attempts, 'attempt')}: {row.message}"), soft_wrap=True
    )
    if row.payload is not None:
        text = json_module.dumps(row.payload, indent=2, ensure_ascii=False)
        out.print(screen.passage(f"payload: {text}"), soft_wrap=True)
    else:
        where = "is not kept" if row.payload_at is None else f"is at {row.payload_at}"
        out.print(screen.plain(f"payload: {row.payload_bytes:,} bytes; it {where}"), soft_wrap=True)
    if stack:
        out.print(screen.passage(row.stack or "it left no stack"), soft_wrap=True)
