"""The `cableway` command: store pipelines, run them, look at what became of them, serve the API."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what *arguments* (by default the command line's) say and return the exit code; one message if that fails."""
    from cableway_handlers.cli.boundary import exit_code_of

    words = list(sys.argv[1:] if arguments is None else arguments)
    # As `python -m` has it: the modules of a project lie in its folder.
    if "" not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, "")
    return exit_code_of(lambda: _command()(args=words, prog_name="cableway"), json="--json" in words)


@cache
def _command() -> Callable[..., object]:
    """The commands, looked through once: whoever calls `main` often in one process need not wait for that each time."""
    from typer.main import get_command

    from cableway_handlers.cli.app import app

    return get_command(app)
