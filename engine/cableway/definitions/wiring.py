"""Whether blocs fit together: what each reads is there before it, and each can run where it is to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cableway.definition import BlocDefinition, PipelineDefinition, StageDefinition
from cableway.definitions.nearness import Nearness
from cableway.errors import Fault
from cableway.references import is_reference

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc


@dataclass(frozen=True, slots=True)
class _Place:
    """A bloc where it stands."""

    pointer: str
    number: int
    stage: StageDefinition
    definition: BlocDefinition


@dataclass(frozen=True, slots=True)
class _Names:
    """What a bloc may name as its input."""

    places: Mapping[str, _Place]
    types: Mapping[str, type[Bloc]]
    nearness: Nearness = field(default_factory=Nearness)


def wiring_faults(
    definition: PipelineDefinition, types: Mapping[str, type[Bloc]], built: Mapping[str, Bloc]
) -> list[Fault]:
    """Every fault between the blocs of *definition*.

    *types* are those of the blocs whose type is known, *built* the blocs whose config is right as well.
    """
    places = [
        _Place(f"/stages/{number}/blocs/{index}", number, stage, bloc)
        for number, stage in enumerate(definition.stages)
        for index, bloc in enumerate(stage.blocs)
    ]
    names = _Names({place.definition.name: place for place in reversed(places)}, types)
    faults = [fault for place in places for fault in _input_faults(place, names)]
    for number, stage in enumerate(definition.stages):
        faults += _gather_faults(number, stage, types)
    giving = [
        [bloc.name for bloc in stage.blocs if bloc.name not in types or types[bloc.name].kind != "exporter"]
        for stage in definition.stages
    ]
    for place in places:
        bloc_type = types.get(place.definition.name)
        if bloc_type is not None:
            faults += _lane_faults(place, bloc_type, definition.settings.dask_address)
            faults += _default_input_faults(place, bloc_type, giving)
    faults += _stream_faults(places, built)
    faults += _target_faults(places, built)
    return faults


def _input_faults(place: _Place, names: _Names) -> Iterator[Fault]:
    bloc = place.definition
    source = bloc.config.get("source_bloc")
    if isinstance(source, str) and not is_reference(source):
        yield from _one_input(place, source, f"{place.pointer}/config/source_bloc", names)
        if bloc.inputs is not None and source not in bloc.inputs:
            yield Fault(f"{place.pointer}/inputs", "input", f"does not hold the source_bloc {source!r}")
    for index, name in enumerate(bloc.inputs or ()):
        yield from _one_input(place, name, f"{place.pointer}/inputs/{index}", names)


def _one_input(place: _Place, name: str, pointer: str, names: _Names) -> Iterator[Fault]:
    source = names.places.get(name)
    if name == place.definition.name:
        yield Fault(pointer, "input", "a bloc cannot read what it makes itself")
    elif source is None:
        advice = names.nearness.advice(name, names.places)
        yield Fault(pointer, "input", f"no bloc {name!r} in this pipeline; {advice}")
    elif source.number >= place.number:
        where = "in the same stage" if source.number == place.number else "in a later stage"
        yield Fault(pointer, "input", f"{name!r} stands {where}, and data passes to later stages only")
    elif name in names.types and names.types[name].kind == "exporter":
        yield Fault(pointer, "input", f"{name!r} is an exporter, which hands nothing on")


def _default_input_faults(place: _Place, bloc_type: type[Bloc], giving: Sequence[Sequence[str]]) -> Iterator[Fault]:
    """A bloc that reads one other must find exactly one where it does not say which; *giving* is by stage."""
    bloc = place.definition
    if bloc.config.get("source_bloc") is not None or "source_bloc" not in config_keys(bloc_type):
        return
    if bloc.inputs is not None:
        names: Sequence[str] = bloc.inputs
    else:
        names = giving[place.number - 1] if place.number > 0 else ()
    if len(names) == 1 or (not names and bloc_type.kind != "exporter"):
        return
    if names:
        said = f"say with source_bloc what it reads: it could be {', '.join(names[:5])}"
    else:
        said = "has nothing to read: no bloc that hands data on stands in the stage before it"
    yield Fault(f"{place.pointer}/config", "input", said)


def config_keys(bloc_type: type[Bloc]) -> frozenset[str]:
    """The keys that a config of *bloc_type* has."""
    return frozenset(getattr(bloc_type.Config, "__annotations__", ()))


def _lane_faults(place: _Place, bloc: type[Bloc], cluster: str | None) -> Iterator[Fault]:
    lane = place.definition.lane or place.stage.lane
    if lane is None:
        return
    own = place.definition.lane is not None
    pointer = f"{place.pointer}/lane" if own else place.pointer
    if lane not in bloc.lanes:
        advice = "" if own else f"; give the bloc a lane of its own beside its stage's {lane!r}"
        yield Fault(pointer, "lane", f"{bloc.bloc_type} runs in the lanes {', '.join(bloc.lanes)}{advice}")
    elif lane == "interpreter" and (reason := _worker_fault(bloc.worker)):
        yield Fault(pointer, "worker", f"{bloc.bloc_type} {reason}")
    elif lane == "dask" and not (cluster or (place.stage.dask_address and place.stage.lane == "dask")):
        yield Fault(pointer, "cluster", "the dask lane needs the address of a cluster; set dask_address in settings")


def _worker_fault(path: str | None) -> str | None:
    """Why the interpreter lane would find nothing to call at *path*, where it would not."""
    if path is None:
        return "names no worker function for the interpreter lane"
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except Exception as error:  # noqa: BLE001 - an import runs the author's code, which may raise anything
        return f"names a worker {path!r} that cannot be imported: {type(error).__name__}"
    return None if callable(function) else f"names a worker {path!r} that cannot be called"


def _gather_faults(number: int, stage: StageDefinition, types: Mapping[str, type[Bloc]]) -> Iterator[Fault]:
    pointer = f"/stages/{number}"
    for name in ("gather", "batch"):
        if number == 0 and getattr(stage, name):
            yield Fault(
                f"{pointer}/{name}", "gather", "the first stage has one item to begin with, and nothing to collect"
            )
    if stage.gather and stage.batch is not None:
        yield Fault(f"{pointer}/batch", "gather", "a stage gathers all items or batches them, not both")
    if stage.gather:
        for index, bloc in enumerate(stage.blocs):
            if bloc.name in types and types[bloc.name].kind != "transformer":
                kind = types[bloc.name].kind
                yield Fault(f"{pointer}/blocs/{index}", "gather", f"a gather folds items, which a {kind} cannot do")


def _stream_faults(places: list[_Place], built: Mapping[str, Bloc]) -> Iterator[Fault]:
    """One loader at most makes the stream, and it stands in the first stage."""
    stream: str | None = None
    for place in places:
        bloc: Any = built.get(place.definition.name)
        if bloc is None or bloc.kind != "loader" or not bloc.batched:
            continue
        if place.number > 0:
            yield Fault(
                place.pointer, "stream", "a loader in batches makes the run's items, so it stands in the first stage"
            )
        elif stream is not None:
            yield Fault(
                place.pointer,
                "stream",
                f"{stream!r} loads in batches already; load one of the two whole, as a side input",
            )
        else:
            stream = place.definition.name


def _target_faults(places: list[_Place], built: Mapping[str, Bloc]) -> Iterator[Fault]:
    """What an exporter writes as a whole no other may write to."""
    writers: dict[str, Any] = {}
    for place in places:
        bloc: Any = built.get(place.definition.name)
        target = bloc.target(bloc.config) if bloc is not None and bloc.kind == "exporter" else None
        if bloc is None or target is None:
            continue
        if target not in writers:
            writers[target] = bloc
            continue
        other = writers[target]
        if other is bloc:  # the name stands twice, which is a fault of its own
            continue
        if other.sole_target(other.config) is not None:
            yield Fault(f"{place.pointer}/config", "target", f"{other.name!r} writes the whole of its target already")
        elif bloc.sole_target(bloc.config) is not None:
            yield Fault(f"{place.pointer}/config", "target", f"{other.name!r} writes to it as well, and this the whole")
