"""``cableway limits``."""

from __future__ import annotations

from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import workplace


def show(*, json: bool) -> None:
    """List the limits."""
    with workplace() as place, place.storage() as storage:
        rows = storage.list_limits()
    if json:
        screen.as_json(rows)
        return
    table = screen.table("limit", "at a time", "taken", "rate", "changed")
    for row in rows:
        rate = "" if row.rate is None else f"{row.rate:g} each {row.period_s:g} s"
        concurrency = "" if row.concurrency is None else f"{row.concurrency:,}"
        cells = (row.name, concurrency, f"{row.slots_taken:,}", rate, screen.when(row.updated_at))
        table.add_row(*map(screen.plain, cells))
    screen.print_table(table, rows, "there are no limits")


def set_limit(name: str, concurrency: int | None, rate: float | None, period_s: float, *, json: bool) -> None:
    """Make the limit, or change it."""
    with workplace() as place, place.storage() as storage:
        row = storage.set_limit(name, concurrency=concurrency, rate=rate, period_s=period_s)
    if json:
        screen.as_json(row)
    else:
        screen.say(f"the limit {name!r} is set")


def delete(name: str, *, json: bool) -> None:
    """Forget the limit."""
    with workplace() as place, place.storage() as storage:
        storage.delete_limit(name)
    if json:
        screen.as_json({"deleted": name})
    else:
        screen.say(f"the limit {name!r} is gone")
