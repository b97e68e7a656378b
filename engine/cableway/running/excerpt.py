"""
A part of a pipeline, to try it out: few items, some of its stages, data of one's own, nothing written.

Nobody but who asked for it hears of such a run: it stands in no database, so that no sweep, key or cursor
can take it for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cableway.definition import BlocDefinition, PipelineDefinition, StageDefinition
from cableway.errors import UsageError

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc
    from cableway.catalog import Catalog

GIVEN = "given"
"""The name of the stage, and of the bloc type, that stands for what is given in place of earlier stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What of a pipeline is to be run."""

    limit: int | None = None
    """Items of the source; where it is loaded whole, its rows."""
    dry_run: bool = False
    """Exporters write nothing and tell what they would have written."""
    first: str | None = None
    """The stage to begin with; unset: the pipeline's first."""
    last: str | None = None
    """The stage to end with; unset: the pipeline's last."""
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Data by bloc: in place of a loader of the first stage, or of what stands before ``first``."""

    def of(self, whole: PipelineDefinition, catalog: Catalog) -> PipelineDefinition:
        """The stages of *whole* that it takes, after one that gives what they read of earlier ones.

        Raise `UsageError` for a stage or bloc that is not there, and where data is missing.
        """
        names = [stage.name for stage in whole.stages]
        first = 0 if self.first is None else _index(self.first, names)
        last = len(names) - 1 if self.last is None else _index(self.last, names)
        if last < first:
            raise UsageError(f"the stage {self.last!r} comes before {self.first!r}")
        kept = whole.stages[first : last + 1]
        wanted = _read_from(whole.stages[:first], kept, catalog)
        absent = [name for name in wanted if name not in self.given]
        if absent:
            raise UsageError(f"stage {names[first]!r} and those after it read what was left out: {', '.join(absent)}")
        loaders = [] if first else [bloc.name for bloc in kept[0].blocs if _kind(bloc, catalog) == "loader"]
        self._refuse_unread([*wanted, *loaders])
        if wanted:
            blocs = tuple(BlocDefinition(name=name, bloc_type=GIVEN) for name in wanted)
            kept = (StageDefinition(name=_free(GIVEN, names), blocs=blocs), *kept)
        return replace(whole, stages=kept)

    def built(
        self, definition: PipelineDefinition, build: Callable[[BlocDefinition], Bloc]
    ) -> tuple[PipelineDefinition, dict[str, Bloc]]:
        """The blocs of *definition*, with others in place of some, and *definition* with the lanes of those."""
        from cableway.running.understudies import lane_beside, understudy

        blocs: dict[str, Bloc] = {}
        stages: list[StageDefinition] = []
        for number, stage in enumerate(definition.stages):
            members = list(stage.blocs)
            originals = {bloc.name: None if bloc.name in self.given else build(bloc) for bloc in members}
            limit = self.limit if number == 0 else None
            for index, bloc in enumerate(members):
                blocs[bloc.name] = made = understudy(self, bloc.name, originals, limit)
                if made is not originals[bloc.name]:
                    members[index] = replace(bloc, lane=lane_beside(stage, bloc, originals[bloc.name]))
            stages.append(replace(stage, blocs=tuple(members)))
        return replace(definition, stages=tuple(stages)), blocs

    def _refuse_unread(self, readable: Sequence[str]) -> None:
        unread = [name for name in self.given if name not in readable]
        if unread:
            which = ", ".join(readable) or "none"
            raise UsageError(f"data is given for {', '.join(unread)}; what can be given here: {which}")


def _index(name: str, names: list[str]) -> int:
    if name not in names:
        raise UsageError(f"no stage {name!r}; there are: {', '.join(names)}")
    return names.index(name)


def _read_from(before: Sequence[StageDefinition], kept: Sequence[StageDefinition], catalog: Catalog) -> dict[str, None]:
    """The blocs *before* whose data the *kept* ones read, in order."""
    earlier = {bloc.name for stage in before for bloc in stage.blocs}
    found: dict[str, None] = {}
    previous = before[-1] if before else None
    for stage in kept:
        for bloc in stage.blocs:
            found.update(dict.fromkeys(name for name in inputs_of(bloc, previous, catalog) if name in earlier))
        previous = stage
    return found


def inputs_of(bloc: BlocDefinition, previous: StageDefinition | None, catalog: Catalog) -> Sequence[str]:
    """The blocs whose data *bloc* reads, in a stage that comes after *previous*."""
    source = bloc.config.get("source_bloc")
    if bloc.inputs is not None:
        return bloc.inputs
    if isinstance(source, str):
        return (source,)
    if previous is None or _kind(bloc, catalog) == "loader":
        return ()
    return [other.name for other in previous.blocs if _kind(other, catalog) != "exporter"]


def _kind(bloc: BlocDefinition, catalog: Catalog) -> str:
    return catalog.load(bloc.bloc_type).kind


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
