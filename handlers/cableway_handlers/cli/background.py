"""A command of ours as a process of its own that outlives the terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cableway.errors import UnavailableError, UsageError

BRIEFLY_S = 1.0
"""Seconds within which a process that cannot do its work usually says so and ends."""
SHOWN_LINES = 20

_COMMAND = "import sys; from cableway_handlers.cli import main; sys.exit(main())"


def start_in_background(arguments: Sequence[str], log: Path, variables: Mapping[str, str]) -> int:
    """Start ``cableway`` with *arguments* in a session of its own and return its process id.

    *variables* are its whole environment; what it prints goes to the end of *log*. Raise `UnavailableError` with
    what it said where it ends at once.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", _COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            start_new_session=True,  # neither this terminal's end nor its Ctrl-C reaches it
        )
    try:
        code = child.wait(BRIEFLY_S)
    except subprocess.TimeoutExpired:
        # It lives on without us, and nobody waits for it here.
        child.returncode = 0
        return child.pid
    said = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
    raise UnavailableError("\n".join([f"it ended at once with exit code {code}; {log} ends with:", *said]))


def variables_of(pairs: Sequence[str]) -> dict[str, str]:
    """What ``--env KEY=VALUE`` says, by name. Raise `UsageError` where one does not."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.isidentifier() and equals):
            raise UsageError(f"--env takes KEY=VALUE, and {name!r} is not that")
        found[name] = value
    return found
