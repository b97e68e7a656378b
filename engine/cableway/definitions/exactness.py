"""What exactly-once asks of a definition: how batches are cut before exporters that count items, and who overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cableway.definition import PipelineDefinition
from cableway.errors import Fault

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc


def exactness_faults(definition: PipelineDefinition, built: Mapping[str, Bloc]) -> Iterator[Fault]:
    """Every fault between the blocs of *definition* that are *built*."""
    by_item = [number for number, _, bloc in _places(definition, built) if _commits_items(bloc)]
    if by_item:
        yield from _batch_faults(definition, max(by_item))
    for number, index, bloc in _places(definition, built):
        if number == 0 and definition.settings.overlap == "allow" and _keeps_cursor(bloc):
            yield Fault(
                "/settings/overlap",
                "line",
                f"{bloc.name!r} keeps how far its source was read, and one run at a time does; "
                "choose skip, queue_one, queue_all or replace",
            )
        if number > 0 and _keeps_cursor(bloc):
            pointer = f"/stages/{number}/blocs/{index}/config/incremental"
            yield Fault(pointer, "line", "only a loader of the first stage keeps how far its source was read")


def _batch_faults(definition: PipelineDefinition, last: int) -> Iterator[Fault]:
    batched = False
    for number, stage in enumerate(definition.stages[: last + 1]):
        if stage.gather:
            batched = False
        if stage.batch is None:
            continue
        if stage.batch.period_s is not None:
            yield Fault(
                f"/stages/{number}/batch/period_s",
                "batch",
                "an exporter behind it writes each batch exactly once, so batches must come out the same again: "
                "cut by count or size_bytes",
            )
        if batched:
            yield Fault(
                f"/stages/{number}/batch", "batch", "an exporter that writes each batch exactly once takes one batching"
            )
        batched = True


def _places(definition: PipelineDefinition, built: Mapping[str, Bloc]) -> Iterator[tuple[int, int, Any]]:
    for number, stage in enumerate(definition.stages):
        for index, bloc in enumerate(stage.blocs):
            if bloc.name in built:
                yield number, index, built[bloc.name]


def _commits_items(bloc: Any) -> bool:
    return bloc.kind == "exporter" and bool(bloc.commits(bloc.config) == "item")


def _keeps_cursor(bloc: Any) -> bool:
    return bloc.kind == "loader" and bool(bloc.keeps_cursor(bloc.config))
