"""The page on settings, from `cableway.variables`."""

from __future__ import annotations

from cableway.variables import GROUPS

OPENING = """\
# Settings

<!-- Written by `make docs` from engine/cableway/variables.py; change it there. -->

Environment variables decide where Cableway works; what a pipeline does stands in its definition. The
`cableway` command and `get_settings()` also read a file `.env` in the current folder; the environment goes
before it. A variable that is empty counts as not set. What is wrong with one is said by its name, and the
process exits with 78; telemetry alone leaves out what it does not understand, and says so in the log.
"""


def page() -> str:
    """The whole page, as Markdown."""
    lines = [OPENING]
    for title, variables in GROUPS.items():
        lines += [f"\n## {title}\n\n| variable | default | meaning |\n|---|---|---|\n"]
        lines += [f"| `{each.name}` | {each.default} | {each.meaning} |\n" for each in variables]
    return "".join(lines)
