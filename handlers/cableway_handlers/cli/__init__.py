"""The `cableway` command: store pipelines, run them, look at what became of them, serve the API."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what *arguments* (by default the command line's) say and return the exit code; one message if that fails."""
    from cableway_handlers.cli.app import app
    from cableway_handlers.cli.boundary import exit_code_of

    words = list(sys.argv[1:] if arguments is None else arguments)
    # As `python -m` has it: the modules of a project lie in its folder.
    if "" not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, "")
    return exit_code_of(lambda: app(args=words, prog_name="cableway"), json="--json" in words)
