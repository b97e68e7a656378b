"""
Write the documents that come from the code: ``make docs``; with ``--check``, say which are stale.

A document joins by a line in `DOCUMENTS`: its path and the function that returns its text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = {
    "docs/blocs.md": "scripts.describe_blocs:page",
    "docs/cli.md": "scripts.describe_cli:page",
    "docs/errors.md": "scripts.describe_errors:page",
    "docs/settings.md": "scripts.describe_settings:page",
}


def main(arguments: list[str]) -> None:
    stale = [path for path in DOCUMENTS if read(ROOT / path) != text_of(path)]
    if "--check" in arguments:
        if stale:
            sys.exit(f"stale, run `make docs`: {', '.join(stale)}")
        return
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text_of(path), encoding="utf-8")
        print(path)


def text_of(path: str) -> str:
    """What the document at *path* should hold."""
    module, function = DOCUMENTS[path].split(":")
    return cast("Callable[[], str]", getattr(import_module(module), function))()


def read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    main(sys.argv[1:])
