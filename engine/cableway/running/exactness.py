"""
What exactly-once asks of a pipeline, seen from its definition: whose commits count by item or by run, which stages
must keep the order of the source, and where the source may be taken up in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cableway.blocs.kinds import Bloc, Commits, ExporterBloc, LoaderBloc

if TYPE_CHECKING:
    from cableway.definition import PipelineDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """One pipeline, judged once before its first item."""

    source: LoaderBloc | None
    """The loader of the first stage that makes the stream or, where none does, one that keeps a cursor."""
    loaders: int
    """How many make the stream."""
    commits: Mapping[str, Commits | None]
    """When what an exporter writes counts, by bloc, in this pipeline."""
    aside: bool
    """Some of them build aside what the last part of the run puts in its place."""
    by_item: Mapping[str, int]
    """The exporters that commit items, each with the number of its stage."""
    whole_run: bool
    """The source cannot be read again as it was, so that exporters with a ledger commit once."""
    kept: bool
    """How far the source was read is kept from run to run."""
    resumable: bool
    """A later attempt may begin in the middle: nothing that comes of what was before is held back to the end."""
    batch_stages: Mapping[str, int]
    """The exporters that commit items and have a batch on their way, each with the number of its stage."""
    cut_anew: bool
    """Batches before an exporter that commits items may come out otherwise when they are made again."""
    in_order: frozenset[int]
    """Stages whose items must leave in the order of the source."""
    serial: frozenset[int]
    """Stages that work on one item at a time."""
    last_effect: int | None
    """The stage in which the last exporter that commits items stands, where from there on nothing else has an effect:
    what is in all of their ledgers needs no work any more.
    """

    @classmethod
    def of(cls, definition: PipelineDefinition, blocs: Mapping[str, Bloc], *, part: bool = False) -> Exactness:
        """Judge *definition*, whose blocs are built; *part*: as a part of a run works on it."""
        first = [blocs[bloc.name] for bloc in definition.stages[0].blocs]
        loaders = [bloc for bloc in first if isinstance(bloc, LoaderBloc)]
        source = next((bloc for bloc in loaders if bloc.batched), None)
        resumable = source is not None and source.repeats(source.config)
        if source is None:
            source = next((bloc for bloc in loaders if bloc.keeps_cursor(bloc.config)), None)
        kept = source is not None and source.keeps_cursor(source.config)
        whole_run = not resumable and (kept or any(not bloc.repeats(bloc.config) for bloc in loaders))
        commits: dict[str, Commits | None] = {
            bloc.name: _commits(bloc, whole_run=whole_run, part=part)
            for bloc in blocs.values()
            if isinstance(bloc, ExporterBloc)
        }
        by_item = {
            bloc.name: number
            for number, stage in enumerate(definition.stages)
            for bloc in stage.blocs
            if commits.get(bloc.name) == "item"
        }
        batches = _batch_stages(definition, by_item)
        serial = {number for name, number in by_item.items() if _is_in_order(blocs[name])}
        ordered = max([*batches.values(), *serial], default=0)
        gathers = any(stage.gather for stage in definition.stages)
        return cls(
            source=source,
            loaders=len(loaders),
            commits=commits,
            aside=part
            and any(isinstance(bloc, ExporterBloc) and bloc.builds_aside(bloc.config) for bloc in blocs.values()),
            by_item=by_item,
            whole_run=whole_run,
            kept=kept,
            resumable=resumable and not gathers and "run" not in commits.values(),
            batch_stages=batches,
            cut_anew=_cut_anew(definition, by_item),
            in_order=frozenset(range(1, ordered)),
            serial=frozenset(serial),
            last_effect=_last_effect(definition, by_item),
        )


def _commits(bloc: ExporterBloc, *, whole_run: bool, part: bool) -> Commits | None:
    commits = "item" if part and bloc.builds_aside(bloc.config) else bloc.commits(bloc.config)
    return "run" if whole_run and commits == "item" else commits


def _is_in_order(bloc: Bloc) -> bool:
    return isinstance(bloc, ExporterBloc) and bloc.in_order(bloc.config)


def _batch_stages(definition: PipelineDefinition, by_item: Mapping[str, int]) -> dict[str, int]:
    """For each exporter the last batch on its way; behind a gather there is one item, and nothing to cut."""
    found: dict[str, int] = {}
    for name, number in by_item.items():
        for before in range(number, 0, -1):
            if definition.stages[before].gather:
                break
            if definition.stages[before].batch is not None:
                found[name] = before
                break
    return found


def _cut_anew(definition: PipelineDefinition, by_item: Mapping[str, int]) -> bool:
    """What is refused of a definition in which every exporter commits items: here some do so as parts alone."""
    before = definition.stages[: max(by_item.values(), default=-1) + 1]
    batches = [stage.batch for stage in before if stage.batch is not None]
    return len(batches) > 1 or any(batch.period_s is not None for batch in batches)


def _last_effect(definition: PipelineDefinition, by_item: Mapping[str, int]) -> int | None:
    last = max(by_item.values(), default=None)
    if last is None or any(stage.gather for stage in definition.stages):
        return None
    behind = {bloc.name for stage in definition.stages[last:] for bloc in stage.blocs}
    return last if behind <= by_item.keys() else None
