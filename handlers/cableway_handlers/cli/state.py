"""``cableway state``."""

from __future__ import annotations

import json as jsons
from dataclasses import asdict
from typing import Any

from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import workplace


def show(pipeline: str, *, json: bool) -> None:
    """Show the lines of *pipeline*."""
    with workplace() as place, place.storage() as storage:
        lines = storage.list_lines(pipeline)
    if json:
        screen.as_json([asdict(line) for line in lines])
        return
    table = screen.table("loader", "epoch", "last value", "lap", "state", "run", "moved")
    for line in lines:
        at = "a run is at work" if line.held else "complete" if line.complete else "open"
        cells = [line.loader, str(line.epoch), _text(line.last), str(line.lap), at, line.run_id or ""]
        table.add_row(*map(screen.plain, cells), screen.when(line.updated_at))
    screen.print_table(table, lines, "no run of it has kept a cursor yet")


def move(pipeline: str, value: str | None, loader: str | None, *, json: bool) -> None:
    """Begin a new line of *pipeline*: at *value*, or from the start."""
    with workplace() as place, place.storage() as storage:
        line = storage.set_state(pipeline, None if value is None else _value(value), loader=loader)
    if json:
        screen.as_json(asdict(line))
        return
    where = "from the start" if value is None else f"from {_text(line.last)} on"
    screen.say(f"the next run loads {where} (loader {line.loader}, epoch {line.epoch})")


def _value(text: str) -> Any:
    """A number where it is written as one, else the text."""
    try:
        value = jsons.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and str(value) == text else text


def _text(value: Any) -> str:
    return "" if value is None else str(value)
