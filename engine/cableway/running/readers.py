"""Who reads what: each bloc's inputs, when a bloc's data can be let go, and what is a side input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc

if TYPE_CHECKING:
    from cableway.definition import PipelineDefinition


@dataclass(frozen=True, slots=True)
class Readers:
    """``inputs`` by bloc; ``last`` is the last stage that reads a bloc's data, -1 where none does; ``sides`` are the
    unbatched loaders beside the one that makes the stream; ``sources`` are all loaders of the first stage.
    """

    inputs: Mapping[str, tuple[str, ...]]
    last: Mapping[str, int]
    sides: frozenset[str]
    sources: frozenset[str]

    @classmethod
    def of(cls, definition: PipelineDefinition, blocs: Mapping[str, Bloc]) -> Readers:
        """Read it from *definition*, whose blocs are built."""
        inputs = _inputs(definition, blocs)
        first = [blocs[bloc.name] for bloc in definition.stages[0].blocs]
        loaders = [bloc for bloc in first if isinstance(bloc, LoaderBloc)]
        stream = any(loader.batched for loader in loaders)
        return cls(
            inputs=inputs,
            last=_last_readers(definition, inputs),
            sides=frozenset(loader.name for loader in loaders if stream and not loader.batched),
            sources=frozenset(loader.name for loader in loaders),
        )

    def take_csv(self, name: str, definition: PipelineDefinition, blocs: Mapping[str, Bloc]) -> bool:
        """Whether all who read what the bloc *name* makes are exporters that take it as CSV, item by item."""
        readers = [
            (stage, blocs[bloc.name])
            for stage in definition.stages
            for bloc in stage.blocs
            if name in self.inputs[bloc.name]
        ]
        return bool(readers) and all(
            isinstance(bloc, ExporterBloc) and stage.batch is None and bloc.takes_csv(bloc.config)
            for stage, bloc in readers
        )


def _inputs(definition: PipelineDefinition, blocs: Mapping[str, Bloc]) -> dict[str, tuple[str, ...]]:
    inputs: dict[str, tuple[str, ...]] = {}
    previous: tuple[str, ...] = ()
    for stage in definition.stages:
        for bloc in stage.blocs:
            source = bloc.config.get("source_bloc")
            if bloc.inputs is not None:
                inputs[bloc.name] = bloc.inputs
            else:
                inputs[bloc.name] = (source,) if isinstance(source, str) else previous
        # An exporter hands nothing on.
        previous = tuple(bloc.name for bloc in stage.blocs if not isinstance(blocs[bloc.name], ExporterBloc))
    return inputs


def _last_readers(definition: PipelineDefinition, inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    last = {bloc.name: -1 for stage in definition.stages for bloc in stage.blocs}
    for index, stage in enumerate(definition.stages):
        for bloc in stage.blocs:
            for name in inputs[bloc.name]:
                last[name] = index
    return last
