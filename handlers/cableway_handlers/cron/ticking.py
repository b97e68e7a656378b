"""Deciding all ticks that are due, batch by batch: what the loop, a cloud's minute and ``cableway tick`` do."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from cableway.errors import UnavailableError
from cableway.store.executor import CONFLICT_RETRIES
from cableway.store.faults import CONFLICTS
from cableway.store.session import Session
from cableway.stored.ticks import BATCH, DecidedTicks, decide


def decide_due(
    session: Session, *, now: datetime | None = None, names: Sequence[str] | None = None, limit: int = BATCH
) -> Iterator[DecidedTicks]:
    """Decide what is due at *now*, by default at the database's time; each batch is committed before it is given.

    Raise `UnavailableError` where the database is away: what was not committed is decided by whoever comes next.
    """
    more = True
    while more:
        decided = _decide(session, now, names, limit)
        more = decided.more
        if decided.schedulers:
            yield decided


def _decide(session: Session, now: datetime | None, names: Sequence[str] | None, limit: int) -> DecidedTicks:
    tries = 0
    while True:
        try:
            with session.transaction():
                return session.drive(decide(session.settings, now=now, names=names, limit=limit))
        except UnavailableError as error:
            tries += 1
            # A deadlock rolled it back whole, so the whole of it may be done again.
            if getattr(error.__cause__, "sqlstate", None) not in CONFLICTS or tries > CONFLICT_RETRIES:
                raise
            time.sleep(random.uniform(0, 0.01 * 2**tries))
