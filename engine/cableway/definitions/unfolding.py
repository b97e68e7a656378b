"""
A pipeline document in its one form: every stage and bloc written out as a mapping.

Stages may be written as names, as lists of names, or as mappings; `cableway.checks` judges what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from cableway.definition import BlocDefinition, JsonObject
from cableway.definitions.nearness import Nearness
from cableway.definitions.pointers import escaped
from cableway.errors import Fault

RESERVED_STAGES = frozenset({"created", "completed", "error"})


@dataclass(slots=True)
class Unfolded:
    """A document in its one form. ``origins`` says where in the document as written a part of it came from."""

    document: JsonObject
    origins: dict[str, str] = field(default_factory=dict[str, str])
    faults: list[Fault] = field(default_factory=list[Fault])

    def as_written(self, pointer: str) -> str:
        """*pointer* into the one form as a pointer into what was written."""
        prefix = pointer
        while prefix:
            if prefix in self.origins:
                return self.origins[prefix] + pointer[len(prefix) :]
            prefix = prefix.rpartition("/")[0]
        return pointer


def unfolded(document: Mapping[str, Any], blocs: Mapping[str, BlocDefinition]) -> Unfolded:
    """*document* with each stage and bloc a mapping: names are looked up in its own ``blocs``, then in *blocs*.

    Its ``$schema`` is for editors and ends here.
    """
    result = Unfolded({key: value for key, value in document.items() if key != "blocs"})
    if isinstance(document.get("$schema"), str):
        del result.document["$schema"]
    own: Any = document.get("blocs", {})
    if not isinstance(own, Mapping):
        result.faults.append(Fault("/blocs", "dict_type", "must be a mapping of names to blocs"))
        own = {}
    known = _Known(cast("Mapping[str, Any]", own), blocs)
    stages = document.get("stages")
    if isinstance(stages, list | tuple):
        written = [_stage(stage, number, known, result) for number, stage in enumerate(cast("list[Any]", stages))]
        _name_stages(written)
        result.document["stages"] = written
    unused = [name for name in known.own if name not in known.used]
    result.faults += [Fault(f"/blocs/{escaped(name)}", "unused", "is in no stage") for name in unused]
    return result


@dataclass(slots=True)
class _Known:
    """The blocs that a stage may name."""

    own: Mapping[str, Any]
    others: Mapping[str, BlocDefinition]
    used: set[str] = field(default_factory=set[str])
    nearness: Nearness = field(default_factory=Nearness)


def _stage(stage: Any, number: int, known: _Known, result: Unfolded) -> Any:
    """Its one form; what is no stage at all is left for the shape's judge."""
    pointer = f"/stages/{number}"
    fields: JsonObject = {}
    match stage:
        case str():
            blocs, places = [stage], [pointer]
        case list() | tuple():
            blocs = list(cast("list[Any]", stage))
            places = [f"{pointer}/{index}" for index in range(len(blocs))]
            result.origins[f"{pointer}/blocs"] = pointer
        case {"blocs": list() | tuple()}:
            fields = dict(cast("Mapping[str, Any]", stage))
            blocs = list(fields.pop("blocs"))
            places = [f"{pointer}/blocs/{index}" for index in range(len(blocs))]
        case _:
            return stage
    written: list[Any] = []
    for index, (bloc, place) in enumerate(zip(blocs, places, strict=True)):
        origin, full = _bloc(bloc, place, known, result)
        result.origins[f"{pointer}/blocs/{index}"] = origin
        written.append(full)
    return {**fields, "blocs": written}


def _bloc(bloc: Any, place: str, known: _Known, result: Unfolded) -> tuple[str, Any]:
    """Where a bloc stands written, and its one form."""
    if not isinstance(bloc, str):
        return place, bloc
    known.used.add(bloc)
    if bloc in known.own:
        found = known.own[bloc]
        named = {"name": bloc, **cast("Mapping[str, Any]", found)} if isinstance(found, Mapping) else found
        return f"/blocs/{escaped(bloc)}", named
    if bloc in known.others:
        return place, asdict(known.others[bloc])
    advice = known.nearness.advice(bloc, [*known.own, *known.others])
    message = f"no bloc {_short(bloc)}; {advice}"
    result.faults.append(Fault(place, "unknown_bloc", message))
    return place, {"name": bloc, "bloc_type": ""}


def _name_stages(stages: list[Any]) -> None:
    """A stage without a name gets that of its only bloc, else its number, and never one that is taken."""
    written = [cast("JsonObject", stage) for stage in stages if isinstance(stage, dict)]
    taken = {name for stage in written if isinstance(name := stage.get("name"), str)}
    for number, stage in enumerate(stages, 1):
        if not isinstance(stage, dict) or "name" in stage:
            continue
        name = _own_name(cast("JsonObject", stage))
        if name is None or name in taken:
            name = f"stage_{number}"
        while name in taken:
            name += "_"
        stage["name"] = name
        taken.add(name)


def _own_name(stage: JsonObject) -> str | None:
    """The name of a stage's only bloc, where a stage may be called so."""
    match stage.get("blocs"):
        case [{"name": str(name)}] if name not in RESERVED_STAGES:
            return name
        case _:
            return None


def _short(name: str) -> str:
    """*name* in quotes, and no longer than a line takes."""
    return repr(name if len(name) <= 100 else f"{name[:100]}...")
