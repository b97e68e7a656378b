"""A command of ours as a process of its own that outlives the terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from cableway.errors import UnavailableError, UsageError

PATIENCE_S = 30.0
"""Seconds after which it is left to itself, whether it has said that it works or not."""
LOOK_S = 0.05
SHOWN_LINES = 20

_COMMAND = "import sys; from cableway_handlers.cli import main; sys.exit(main())"


def start_in_background(arguments: Sequence[str], log: Path, variables: Mapping[str, str], *, ready: str) -> int:
    """Start ``cableway`` with *arguments* in a session of its own, and return its process id once it works.

    That is when it has printed *ready*. *variables* are its whole environment; what it prints goes to the end of *log*.
    Raise `UnavailableError` with what it said where it ends instead.
    """
    with _opened(log) as output:
        begin = output.tell()
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", _COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            start_new_session=True,  # neither this terminal's end nor its Ctrl-C reaches it
        )
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and ready not in _said(log, begin):
        with suppress(subprocess.TimeoutExpired):
            code = child.wait(LOOK_S)
            lines = _said(log, begin).splitlines()[-SHOWN_LINES:]
            raise UnavailableError("\n".join([f"it ended at once with exit code {code}, and {log} says:", *lines]))
    # It lives on without us, and nobody here is to wait for it.
    child.returncode = 0
    return child.pid


def _opened(log: Path) -> BinaryIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        message = f"{log}, where it would print, cannot be written: {error.strerror}; start it in a folder of yours"
        raise UnavailableError(message) from None


def _said(log: Path, begin: int) -> str:
    with log.open("rb") as opened:
        opened.seek(begin)
        return opened.read().decode(errors="replace")


def variables_of(pairs: Sequence[str]) -> dict[str, str]:
    """What ``--env KEY=VALUE`` says, by name. Raise `UsageError` where one does not."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.isidentifier() and equals):
            raise UsageError(f"--env takes KEY=VALUE, and {name!r} is not that")
        found[name] = value
    return found
