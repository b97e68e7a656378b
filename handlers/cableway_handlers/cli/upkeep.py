"""``cableway prune``."""

from __future__ import annotations

from cableway.stored.pruning import age_of
from cableway_handlers.cli import screen
from cableway_handlers.cli.workplace import workplace


def prune(older_than: str, pipeline: str | None, *, dry_run: bool, force: bool, batch: int, json: bool) -> None:
    """Delete what is older, and say how much it was."""
    from cableway.stored import pruning

    age = age_of(older_than)
    with workplace() as place, place.storage() as storage:
        pruned = pruning.prune(storage.session, age, pipeline=pipeline, force=force, batch=batch, dry_run=dry_run)
    if json:
        screen.as_json(pruned)
        return
    verb = "would be deleted" if dry_run else "deleted"
    deliveries = f"{pruned.deliveries:,} kept deliver{'y' if pruned.deliveries == 1 else 'ies'}"
    parts = (screen.count(pruned.runs, "run"), screen.count(pruned.ticks, "tick"), deliveries)
    screen.say(f"{verb}: {', '.join(parts)}, {screen.count(pruned.versions, 'version')}")
