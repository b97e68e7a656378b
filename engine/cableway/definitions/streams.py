"""A pipeline's own ``batch_size``, given to the loader that makes the stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cableway.definition import PipelineDefinition
from cableway.definitions.wiring import config_keys
from cableway.errors import Fault

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc


def with_batch_size(
    definition: PipelineDefinition, known: Callable[[str], type[Bloc] | None]
) -> tuple[PipelineDefinition, list[Fault]]:
    """*definition* with the loader of its first stage told how many rows are an item, where its config does not say."""
    size = definition.settings.batch_size
    if size is None or not definition.stages:
        return definition, []
    first = definition.stages[0]
    silent = [number for number, bloc in enumerate(first.blocs) if _leaves_open(known(bloc.bloc_type), bloc.config)]
    if len(silent) > 1:
        names = ", ".join(first.blocs[number].name for number in silent[:5])
        message = f"is for one loader, and could be for {names}: let all but one say batch_size in their config"
        return definition, [Fault("/settings/batch_size", "stream", message)]
    blocs = tuple(
        replace(bloc, config={**bloc.config, "batch_size": size}) if number in silent else bloc
        for number, bloc in enumerate(first.blocs)
    )
    return replace(definition, stages=(replace(first, blocs=blocs), *definition.stages[1:])), []


def _leaves_open(bloc_type: type[Bloc] | None, config: dict[str, object]) -> bool:
    return (
        bloc_type is not None
        and bloc_type.kind == "loader"
        and "batch_size" in config_keys(bloc_type)
        and "batch_size" not in config
    )
