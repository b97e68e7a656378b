"""
What is let go of in time: runs with all that hangs on them, ticks, kept deliveries, and versions nobody needs.

Rows go in batches, each in a transaction of its own, so that running jobs are not held up, and what was deleted
stays deleted wherever it ends. Cursors stay: a source that is read once a year is still read from where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cableway.errors import UsageError

if TYPE_CHECKING:
    from cableway.store.executor import Sender

BATCH = 500
"""Rows that one transaction deletes."""
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Rows that are gone, or would be."""

    runs: int = 0
    ticks: int = 0
    deliveries: int = 0
    versions: int = 0


def prune(
    sender: Sender,
    older_than: timedelta,
    *,
    pipeline: str | None = None,
    force: bool = False,
    batch: int = BATCH,
    dry_run: bool = False,
    tell: Callable[[Pruned], object] = lambda _: None,
) -> Pruned:
    """Delete what ended, was decided or was received longer ago than *older_than*; *tell* how far it is after a batch.

    A run stays while it is open, while another run that stays refers to it, while its webhook's key is remembered, and,
    without *force*, while dead letters on its line are not resolved. With *dry_run* nothing is deleted, and the counts
    are what would be.
    """
    before = datetime.now(UTC) - older_than
    wish = {"before": before, "pipeline": pipeline, "force": force}
    if dry_run:
        return Pruned(**sender.rows("prunable", **wish)[0])
    sender.rows("forget_keys")
    counts = dict.fromkeys(("runs", "ticks", "deliveries", "versions"), 0)
    while count := sender.rows("prune_runs", **wish, batch=batch)[0]["count"]:
        counts["runs"] += count
        tell(Pruned(**counts))
    where = {"before": before, "pipeline": pipeline, "batch": batch}
    while count := sender.rows("prune_ticks", **where)[0]["count"]:
        counts["ticks"] += count
    while count := sender.rows("prune_deliveries", **where)[0]["count"]:
        counts["deliveries"] += count
    while count := sender.rows("prune_versions", **where)[0]["count"]:
        counts["versions"] += count
    tell(Pruned(**counts))
    return Pruned(**counts)


def age_of(text: str) -> timedelta:
    """``30d``, ``12h``, ``90m`` or ``2w``. Raise `UsageError` for anything else."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) <= 6 and unit in _UNITS and int(number) > 0):
        raise UsageError(f"{text[:20]!r} is no age: a whole number with m, h, d or w, such as 30d")
    return timedelta(**{_UNITS[unit]: int(number)})
