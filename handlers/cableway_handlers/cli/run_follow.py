"""``cableway runs cancel|logs|watch``: a run that goes on, from elsewhere."""

from __future__ import annotations

import os
import re
import sys
import time
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from cableway.errors import EXIT_BUG, UnknownNameError
from cableway.store.port import ENDED, RunState
from cableway.stored.following import Pulse, read_pulse
from cableway_handlers.cli import screen, show
from cableway_handlers.cli.run_names import run_named
from cableway_handlers.cli.workplace import LAUNCHES, workplace
from cableway_handlers.launch.protocol import Launch, LaunchState

if TYPE_CHECKING:
    from collections.abc import Generator

    from cableway.storage import DatabaseStorage
    from cableway.store.reading import RunDetails
    from cableway_handlers.launch.local import LocalLauncher

LOOK_S = 0.3
"""Seconds between two looks at a run or at its log."""


def cancel(run_id: str, *, wait: bool, json: bool) -> None:
    """Ask for the end of a run and, with *wait*, return when it has come."""
    with workplace() as place, place.storage() as storage:
        state = storage.cancel_run(run_id, by=_who())
        had_ended = state in ENDED - {RunState.CANCELLED}
        if wait:
            for pulse in _pulses(storage, run_id):
                state = pulse.state
    if json:
        screen.as_json({"run_id": run_id, "state": state})
    else:
        stands = "has ended already:" if had_ended else "is"
        screen.say(f"run {run_id} {stands} {str(state).replace('_', ' ')}")


def watch(name: str, *, json: bool) -> int:
    """Tell what becomes of the run *name* until it has ended, and return its exit code."""
    with workplace() as place, place.storage() as storage:
        run_id = run_named(storage, name)
        told = ""
        for pulse in _pulses(storage, run_id):
            line = _words_of(pulse)
            if line != told and not json:
                screen.say(f"{time.strftime('%H:%M:%S')} {line}")
            told = line
        details = storage.get_run(run_id)
    if json:
        screen.as_json(details)
    else:
        show.run_summary(details)
    return EXIT_BUG if details.run.exit_code is None else details.run.exit_code


def logs(name: str, *, attempt: int | None, follow: bool) -> None:
    """Print what an attempt's process has written, and with *follow* what it writes until it has ended."""
    with workplace() as place, place.storage() as storage:
        details = storage.get_run(run_named(storage, name))
        launcher = place.launcher()
        path = _log_of(details, attempt)
        with path.open("rb") as log:
            while True:
                lives = follow and _lives(launcher, path)
                _copy(log.read())
                if not lives:
                    return
                time.sleep(LOOK_S)


def _pulses(storage: DatabaseStorage, run_id: str) -> Generator[Pulse]:
    while True:
        pulse = storage.session.drive(read_pulse(run_id))
        yield pulse
        if pulse.ended:
            return
        time.sleep(LOOK_S)


def _words_of(pulse: Pulse) -> str:
    words = str(pulse.state).replace("_", " ")
    if pulse.attempt:
        words += f", attempt {pulse.attempt}"
    if pulse.not_before is not None and not pulse.ended:
        words += f", waits until {screen.when(pulse.not_before)}"
    if pulse.dead_letters:
        words += f", {screen.count(pulse.dead_letters, 'dead letter')}"
    return words


def _log_of(details: RunDetails, attempt: int | None) -> Path:
    """The log of an attempt, by default of the last one. Raise `UnknownNameError` where it is not on this machine."""
    run_id = details.run.run_id
    if attempt is None:
        path = max(LAUNCHES.glob(f"{Launch(run_id, 0).name[:-1]}*.log"), key=_number_of, default=None)
    else:
        row = next((row for row in details.attempts if row.attempt == attempt), None)
        name = ((row and row.external_id) or "").partition(":")[0]
        ours = name if name.startswith("r-") and "/" not in name else Launch(run_id, attempt).name
        path = LAUNCHES / f"{ours}.log"
    if path is None or not path.exists():
        raise UnknownNameError(_elsewhere(details, attempt))
    return path


def _elsewhere(details: RunDetails, attempt: int | None) -> str:
    which = "no attempt" if attempt is None else f"no attempt {attempt}"
    says = f"{which} of run {details.run.run_id} has a log in {LAUNCHES}"
    rows = [row for row in details.attempts if row.external_id and attempt in {None, row.attempt}]
    if rows:
        return f"{says}: it ran as {rows[-1].external_id!r}, and its log is where that platform keeps it"
    return f"{says}: its log is where its container was started"


def _number_of(path: Path) -> int:
    found = re.search(r"-(\d+)\.log$", path.name)
    return int(found[1]) if found else 0


def _lives(launcher: LocalLauncher, path: Path) -> bool:
    launch = Launch(path.stem[2:].rpartition("-")[0], _number_of(path))
    external_id = launcher.find(launch)
    return external_id is not None and launcher.status(external_id).state is LaunchState.RUNNING


def _copy(data: bytes) -> None:
    if data:
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()


def _who() -> str:
    try:
        return getuser()
    except OSError:  # a user without a name
        return str(os.getuid())
