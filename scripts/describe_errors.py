"""The page on errors and exit codes, from `cableway.errors`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from cableway.errors import CablewayError

OPENING = """\
# Errors and exit codes

<!-- Written by `make docs` from engine/cableway/errors.py; change it there. -->

Every error that Cableway raises on purpose, what its process exits with, and whether the same container
started again could end otherwise: *never* (it would fail the same way), *yes*, *count* (a few times, for
it may be a bug) or *policy* (the pipeline says). Over HTTP, in the run's row, on the last line of the
output and on the span an error is one and the same [problem](https://www.rfc-editor.org/rfc/rfc9457) with
the code as its type.

| error | code | exit | again? | HTTP | when |
|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page, as Markdown."""
    return OPENING + "".join(f"{row}\n" for row in rows(CablewayError))


def rows(error: type[CablewayError], depth: int = 0) -> Iterator[str]:
    """A table row for *error* and, indented, for each kind of it."""
    indent = "&nbsp;&nbsp;" * depth
    when = (inspect.getdoc(error) or "").partition("\n")[0]
    yield f"| {indent}`{error.__name__}` | {error.code} | {error.exit_code} | {error.retry} | {error.status} | {when} |"
    for kind in error.__subclasses__():
        if kind.__module__ == CablewayError.__module__:
            yield from rows(kind, depth + 1)
