"""
A replay as the job sees it: the pipeline from the failed stage on, with dead letters as its source.

Items come in under the ids that they had, so exporters with a ledger know what they have of them. Each goes its way by
itself: what was batched before the failed stage is in the letter as it was joined, and batches behind it are of one
item, because others would be cut differently when the replay is killed and taken up again. No cursor is moved.

A replay of the whole reads the source again; exporters before the stage that it begins with write nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from cableway.blocs.kinds import Bloc, ExporterBloc, LinePlace, LoaderBloc
from cableway.definition import BatchDefinition, BlocDefinition, PipelineDefinition, StageDefinition
from cableway.errors import DefinitionError
from cableway.running.excerpt import inputs_of
from cableway.running.joining import joined_members
from cableway.running.payloads import restored

if TYPE_CHECKING:
    from cableway.catalog import Catalog
    from cableway.context import RunContext
    from cableway.running.payload_folder import PayloadFolder
    from cableway.store.port import Lease, Replay, ReplayedItem, RunRecord, RunStore

PAGE = 200
"""Letters that are read at a time."""
SOURCE = "dead_letters"
"""The name of the stage, and of the bloc type, that stands for the letters."""

_LAP = re.compile(r"(\d+)~")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoConfig:
    """The blocs of a replay are made by the job, which tells them everything."""


class Letters(LoaderBloc):
    """The source of a replay. *batches*: the stage made batches, so a single item is joined like one."""

    bloc_type = SOURCE
    summary = "Gives the items of dead letters."
    Config = NoConfig
    example: ClassVar[Mapping[str, Any]] = {}
    lanes = ("thread",)
    repeatable = True

    def __init__(self, name: str, letters: Unread, inputs: Mapping[str, Sequence[str]], *, batches: bool) -> None:
        super().__init__(name, NoConfig())
        self._letters = letters
        self._inputs = inputs
        self._batches = batches

    @property
    def batched(self) -> bool:
        """One item for each letter."""
        return True

    def load(self, context: RunContext) -> Iterator[tuple[str, Any]]:
        """Id and data of each item, in the order in which they failed."""
        for item in self._letters.pages():
            yield item.item_id, self._data(item)

    def _data(self, item: ReplayedItem) -> dict[str, Any]:
        payload = self._letters.payload(item)
        data = restored(payload, item.frames)
        if item.shape == "row":
            name = next(iter(self._inputs.get(item.bloc, ())), None)
            return {} if name is None else {name: data}
        if isinstance(data, list):
            return joined_members(cast("list[dict[str, Any]]", data))
        return joined_members([data]) if self._batches and ".." not in item.item_id else data


class Unread:
    """The letters of a replay, read a page at a time over a store of their own, since the job's has its own work."""

    def __init__(self, another: Callable[[], RunStore], lease: Lease, payloads: PayloadFolder | None) -> None:
        self._another = another
        self._lease = lease
        self._payloads = payloads

    def pages(self) -> Iterator[ReplayedItem]:
        """All of them, in the order in which they failed."""
        with closing(self._another()) as store:
            after = 0
            while found := store.replayed_items(self._lease, after, PAGE):
                yield from found
                after = found[-1].letter_id

    def payload(self, item: ReplayedItem) -> Any:
        """What the item held. Raise `DefinitionError` where it is kept elsewhere, and nobody says where that is."""
        if item.payload_at is None:
            return item.payload
        if self._payloads is None:
            raise DefinitionError(f"the payload of item {item.item_id!r} is elsewhere: set CABLEWAY_PAYLOADS")
        return self._payloads.read(item.payload_at)


class LeftOut(ExporterBloc):
    """In place of an exporter that has written already."""

    bloc_type = "left_out"
    summary = "Writes nothing."
    Config = NoConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def export(self, context: RunContext) -> int:
        """Write nothing: no rows."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaying:
    """One run that is a replay."""

    replay: Replay
    lap: int
    letters: Unread

    @classmethod
    def of(
        cls,
        run: RunRecord,
        store: RunStore,
        another: Callable[[], RunStore],
        lease: Lease,
        payloads: PayloadFolder | None,
    ) -> Replaying | None:
        """What *run* replays; None where it replays nothing. A later attempt takes its letters back first."""
        if run.replay is None:
            return None
        if lease.attempt > 1:
            store.take_letters(lease, own=False)
        first = () if run.replay.whole else store.replayed_items(lease, 0, 1)
        found = _LAP.match(first[0].item_id) if first else None
        letters = Unread(another, lease, payloads)
        return cls(replay=run.replay, lap=0 if found is None else int(found[1]), letters=letters)

    @property
    def source(self) -> str | None:
        """The bloc that gives items with their data as it was; None where the pipeline's own loaders do."""
        return None if self.replay.whole else SOURCE

    def place(self, place: LinePlace) -> LinePlace:
        """*place* of a bloc, as it is in a replay."""
        return place if self.replay.whole else replace(place, replay=True, lap=self.lap)

    def built(
        self, whole: PipelineDefinition, build: Callable[[BlocDefinition], Bloc], catalog: Catalog
    ) -> tuple[PipelineDefinition, dict[str, Bloc]]:
        """What of *whole* is run, with its blocs. Raise `DefinitionError` where the replay cannot be."""
        index = stage_index(whole, self.replay.stage)
        if self.replay.whole:
            return whole, _whole(whole, index, build)
        if index == 0 or any(stage.gather for stage in whole.stages[index:]):
            raise DefinitionError(f"single items cannot be replayed from stage {self.replay.stage!r} on")
        kept = tuple(_single(stage, joined=number == 0) for number, stage in enumerate(whole.stages[index:]))
        inputs: dict[str, Sequence[str]] = {}
        for previous, stage in zip(whole.stages[index - 1 :], kept, strict=False):
            inputs |= {bloc.name: inputs_of(bloc, previous, catalog) for bloc in stage.blocs}
        blocs = {bloc.name: build(bloc) for stage in kept for bloc in stage.blocs}
        refuse_wholes(blocs.values(), self.replay.of)
        sides = _sides(whole.stages[0], inputs, build)
        batches = whole.stages[index].batch is not None
        source = Letters(SOURCE, self.letters, inputs, batches=batches)
        first = [BlocDefinition(name=SOURCE, bloc_type=SOURCE, lane="thread"), *(bloc for bloc, _ in sides)]
        stages = (
            replace(whole.stages[0], name=SOURCE, blocs=tuple(first), rate_per_s=None, limits=(), timeout_s=None),
            *(_with_inputs(stage, inputs) for stage in kept),
        )
        # What fails again has its letter, and keeps nothing else back.
        settings = replace(whole.settings, max_errors="100%")
        made = {SOURCE: source, **{bloc.name: built for bloc, built in sides}, **blocs}
        return replace(whole, stages=stages, settings=settings), made


def stage_index(whole: PipelineDefinition, name: str) -> int:
    """Where stage *name* stands in *whole*. Raise `DefinitionError` where it has none of that name."""
    names = [stage.name for stage in whole.stages]
    if name not in names:
        raise DefinitionError(f"pipeline {whole.name!r} has no stage {name!r} in this version: {', '.join(names)}")
    return names.index(name)


def refuse_wholes(blocs: Sequence[Bloc] | Any, run_id: str) -> None:
    """Raise `DefinitionError` for an exporter that writes its target as a whole, and cannot add single items to it."""
    for bloc in blocs:
        if isinstance(bloc, ExporterBloc) and not bloc.takes_replays and bloc.commits(bloc.config) == "run":
            raise DefinitionError(
                f"bloc {bloc.name!r} writes its target as a whole, so single items cannot be replayed into it; "
                f"`cableway runs retry {run_id} --from STAGE` works on everything again"
            )


def _single(stage: StageDefinition, *, joined: bool) -> StageDefinition:
    """*stage* as single items go through it. *joined*: those that come have been through its batch."""
    batch = None if stage.batch is None or joined else BatchDefinition(count=1)
    on_error = "dead_letter" if stage.on_error == "fail_run" else stage.on_error
    return replace(stage, batch=batch, on_error=on_error)


def _with_inputs(stage: StageDefinition, inputs: Mapping[str, Sequence[str]]) -> StageDefinition:
    return replace(stage, blocs=tuple(replace(bloc, inputs=tuple(inputs[bloc.name])) for bloc in stage.blocs))


def _sides(
    first: StageDefinition, inputs: Mapping[str, Sequence[str]], build: Callable[[BlocDefinition], Bloc]
) -> list[tuple[BlocDefinition, Bloc]]:
    """The unbatched loaders beside the one that made the stream, as far as they are read: their data is no item's."""
    built = [(bloc, build(bloc)) for bloc in first.blocs]
    loaders = [(bloc, made) for bloc, made in built if isinstance(made, LoaderBloc)]
    if not any(made.batched for _, made in loaders):
        return []
    wanted = {name for names in inputs.values() for name in names}
    return [(bloc, made) for bloc, made in loaders if not made.batched and bloc.name in wanted]


def _whole(whole: PipelineDefinition, index: int, build: Callable[[BlocDefinition], Bloc]) -> dict[str, Bloc]:
    blocs = {bloc.name: build(bloc) for stage in whole.stages for bloc in stage.blocs}
    before = {bloc.name for stage in whole.stages[:index] for bloc in stage.blocs}
    return {
        name: LeftOut(name, NoConfig()) if name in before and isinstance(bloc, ExporterBloc) else bloc
        for name, bloc in blocs.items()
    }
