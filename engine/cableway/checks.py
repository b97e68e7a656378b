"""
A pipeline document judged before anything runs or is stored: its shape, then its meaning.

Every fault is listed at once, each with a JSON pointer into the document as it was written. Messages
name keys and rules; a value is named only where it is itself a name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from cableway.catalog import Catalog
from cableway.definition import BlocDefinition, JsonObject, PipelineDefinition
from cableway.definitions.configs import adapter_of, faults_of
from cableway.definitions.documents import WrittenDocument, limit_faults, read_document
from cableway.definitions.meaning import judged
from cableway.definitions.pointers import is_within, parts_of
from cableway.definitions.unfolding import unfolded
from cableway.errors import DefinitionError, Fault

__all__ = ["check_definition", "check_document", "read_document"]

MAX_BLOCS = 10_000
_MOST: Mapping[str, int] = {"stages": MAX_BLOCS, "blocs": MAX_BLOCS, "parameters": 1000, "triggers": 100}
_REPAIRS = 3
_STAND_INS: Mapping[str, Any] = {"name": "?", "bloc_type": "?", "blocs": (), "stages": ()}


def check_document(
    document: Mapping[str, Any], *, catalog: Catalog, blocs: Mapping[str, BlocDefinition] | None = None
) -> PipelineDefinition:
    """The definition that *document* describes, with every default written out.

    Its stages may name blocs of its own ``blocs`` or of *blocs*. Raise `DefinitionError` with every
    fault; those of a document that `read_document` gave have their lines where its format tells them.
    """
    definition, faults = _judged(document, catalog, blocs or {})
    if isinstance(document, WrittenDocument):
        faults = [replace(fault, line=document.line_of(fault.pointer)) for fault in faults]
    _raise_for(faults)
    if definition is None:
        raise DefinitionError("the document is no pipeline")
    return definition


def check_definition(definition: PipelineDefinition, *, catalog: Catalog) -> PipelineDefinition:
    """The same for a definition made in Python."""
    return check_document(definition.document(triggers=True), catalog=catalog)


def _judged(
    document: Mapping[str, Any], catalog: Catalog, blocs: Mapping[str, BlocDefinition]
) -> tuple[PipelineDefinition | None, list[Fault]]:
    """The definition as far as there is one, and every fault at its place in *document* as written."""
    if too_much := _form_faults(document):
        return None, too_much
    if too_many := list(_count_faults(document)):
        return None, too_many
    form = unfolded(document, blocs)
    definition, shape = _shaped(form.document)
    faults = list(shape)
    if definition is not None:
        definition, meaning = judged(definition, catalog)
        # A part without its shape has no meaning yet, and what was taken out of one leaves it empty.
        bad = {fault.pointer for fault in shape}
        around = {fault.pointer.rpartition("/")[0] for fault in shape}
        faults += [
            fault
            for fault in meaning
            if not is_within(fault.pointer, bad) and not (fault.code == "empty" and fault.pointer in around)
        ]
    written = [replace(fault, pointer=form.as_written(fault.pointer)) for fault in faults]
    known = {fault.pointer for fault in form.faults}
    return definition, form.faults + [
        fault for fault in written if fault.code == "unused" or not is_within(fault.pointer, known)
    ]


def _form_faults(document: Any) -> list[Fault]:
    if not isinstance(document, Mapping):
        return [Fault("", "dict_type", "must be a mapping with a name and stages")]
    return limit_faults(document)


def _shaped(document: JsonObject) -> tuple[PipelineDefinition | None, list[Fault]]:
    """The definition and what is wrong with its shape; wrong parts are left out so that the rest can be judged."""
    faults: list[Fault] = []
    adapter = _adapter()
    for _ in range(_REPAIRS):
        try:
            return adapter.validate_json(json.dumps(document), strict=True), faults
        except ValidationError as error:
            found = list(
                faults_of(
                    error.errors(include_url=False, include_context=False, include_input=False), document, adapter
                )
            )
            before = {fault.pointer for fault in faults}
            faults += [fault for fault in found if not is_within(fault.pointer, before)]
            document = json.loads(json.dumps(document))
            for fault in found:
                _repair(document, fault)
    return None, faults


@cache
def _adapter() -> TypeAdapter[PipelineDefinition]:
    return cast("TypeAdapter[PipelineDefinition]", adapter_of(PipelineDefinition))


def _repair(document: Any, fault: Fault) -> None:
    """Take what is wrong out of *document*; what has to be there gets a stand-in."""
    parts = parts_of(fault.pointer)
    if not parts:
        return
    around = _reached(document, parts[:-1])
    last = parts[-1]
    if isinstance(around, list):
        cast("list[Any]", around)[int(last)] = _stand_in(parts[-2])
    elif last in _STAND_INS:
        around[last] = _STAND_INS[last]
    else:
        around.pop(last, None)


def _stand_in(place: str) -> Any:
    """A member of the list *place* that has its shape."""
    match place:
        case "stages":
            return {"name": "?", "blocs": []}
        case "blocs":
            return {"name": "?", "bloc_type": "?"}
        case _:
            return "?"


def _reached(document: Any, parts: Iterable[str]) -> Any:
    reached: Any = document
    for part in parts:
        key: Any = int(part) if isinstance(reached, list) else part
        reached = cast("Any", reached)[key]
    return reached


def _count_faults(document: Mapping[str, Any]) -> Iterable[Fault]:
    """What there is too much of, by the document as written: before more is made of it."""
    stages: Any = document.get("stages")
    count = sum(map(_blocs_in, cast("list[Any]", stages))) if isinstance(stages, list | tuple) else 0
    if count > MAX_BLOCS:
        yield Fault("/stages", "too_large", f"hold {count} blocs, and a pipeline has at most {MAX_BLOCS}")
    for name, most in _MOST.items():
        members: Any = document.get(name)
        if isinstance(members, Mapping | list | tuple) and len(cast("list[Any]", members)) > most:
            yield Fault(f"/{name}", "too_large", f"must hold at most {most}")


def _blocs_in(stage: Any) -> int:
    members: Any = cast("Mapping[str, Any]", stage).get("blocs") if isinstance(stage, Mapping) else stage
    return len(cast("list[Any]", members)) if isinstance(members, list | tuple) else 1


def _raise_for(faults: Iterable[Fault]) -> None:
    found = list(faults)
    if not found:
        return
    shown = "; ".join(_line(fault) for fault in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    raise DefinitionError(f"{shown}{more}", found)


def _line(fault: Fault) -> str:
    place = fault.pointer or "the document"
    return f"{place}: {fault.message}" if fault.line is None else f"line {fault.line}, {place}: {fault.message}"
