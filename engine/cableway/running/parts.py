"""A run in parts: which pipelines can have any, and what each part loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cableway.errors import DefinitionError

if TYPE_CHECKING:
    from cableway.blocs.kinds import LoaderBloc
    from cableway.context import RunContext
    from cableway.definition import JsonObject
    from cableway.running.exactness import Exactness
    from cableway.running.whole import WholeLap
    from cableway.store.port import Lease, PartOf, RunStore


def refuse_parts(exactness: Exactness) -> None:
    """Raise `DefinitionError` where parts together would not do what one run does."""
    reason = _obstacle(exactness)
    if reason is not None:
        raise DefinitionError(f"this pipeline cannot run in parts: {reason}; record a run without parts")


def _obstacle(exactness: Exactness) -> str | None:
    loader, whole = exactness.source, [name for name, commits in exactness.commits.items() if commits == "run"]
    if loader is None or exactness.loaders != 1:
        return "its first stage needs one loader, and that one a 'batch_size'"
    if exactness.kept and exactness.aside:
        return f"loader {loader.name!r} keeps a cursor, and what is new alone takes no table's place in parts"
    if not loader.divides(loader.config):
        return f"loader {loader.name!r} cannot share out its source; those of files and of tables with a 'key' can"
    if whole:
        return f"exporter {whole[0]!r} commits a run as a whole; use if_exists 'append', 'upsert' or 'swap'"
    if not exactness.resumable:
        return "it gathers, and each part would gather by itself"
    if exactness.cut_anew:
        return "it cuts batches by 'period_s', or twice, before an exporter that writes each batch exactly once"
    return None


def share_of(
    loader: LoaderBloc, part: PartOf, store: RunStore, lease: Lease, lap: WholeLap | None, context: RunContext
) -> JsonObject:
    """What *part* loads. The part that asks first plans for all, and begins the *lap* of a cursor that is kept."""
    share = store.take_share(lease)
    if share is None:
        state, cursor = ({}, None) if lap is None else lap.begin()
        share = store.take_share(lease, loader.shares(context, part.parts, state), cursor)
    if share is None:
        raise DefinitionError(f"loader {loader.name!r} has planned less than {part.parts} shares")
    return share
