"""What every command prints with: lines, tables, JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sized
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cableway.telemetry.waterfall import printable

PIPE_COLUMNS = 160


def say(line: str) -> None:
    """Write *line* to stderr, so that stdout holds what was asked for alone."""
    sys.stderr.write(f"{line}\n")


def as_json(value: object) -> None:
    """Print *value*, rows or what is made of them, as JSON."""
    sys.stdout.write(json.dumps(value, default=_plain, indent=2, ensure_ascii=False) + "\n")


def console() -> Console:
    """Where tables go. What reads a pipe has no width, and an id cut in two is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def plain(text: str, style: str = "") -> Text:
    """*text* as it is: nothing in it is markup, and nothing in it moves the terminal's cursor."""
    return Text(printable(text), style=style)


def passage(text: str) -> Text:
    """The same of a text of several lines, which stay what they are."""
    return Text("\n".join(printable(line.replace("\t", "    ")) for line in text.splitlines()))


def table(*columns: str) -> Table:
    """A table without lines."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_table(made: Table, rows: Sized, empty: str) -> None:
    """Print the table, or say that it is *empty* of *rows*."""
    if rows:
        console().print(made)
    else:
        say(empty)


def when(value: datetime | None) -> str:
    """An instant by the machine's own clock."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count(number: int, noun: str) -> str:
    """As in ``1 stage`` and ``2 stages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
