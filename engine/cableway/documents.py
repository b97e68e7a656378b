"""
Pipeline documents as people write them: read from a file, held to limits, and put into one form.

What comes out of here holds JSON values alone and has every stage and bloc written out as a
mapping; `cableway.checks` then judges it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from cableway.definition import BlocDefinition, JsonObject
from cableway.errors import DefinitionError, Fault

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 500_000
RESERVED_STAGES = frozenset({"created", "completed", "error"})
_FORMATS = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON", ".toml": "TOML"}


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


def read_document(path: str | Path) -> JsonObject:
    """The document in the YAML, JSON or TOML file at *path*. Dates in YAML stay text.

    Raise `DefinitionError` that says what is wrong with the file, and where in it.
    """
    place = Path(path)
    kind = _FORMATS.get(place.suffix.lower())
    if kind is None:
        raise DefinitionError(f"{path}: a pipeline document ends in {', '.join(_FORMATS)}")
    try:
        with place.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise DefinitionError(f"{path}: is larger than {MAX_BYTES >> 20} MiB")
    try:
        document = _parsed(raw.decode("utf-8-sig"), kind)
    except _NotParsedError as error:
        raise DefinitionError(f"{path}: is no {kind}: {error}") from None
    except UnicodeDecodeError:
        raise DefinitionError(f"{path}: is not UTF-8") from None
    except RecursionError:
        raise DefinitionError(f"{path}: is nested too deeply") from None
    if not isinstance(document, dict):
        raise DefinitionError(f"{path}: holds no pipeline; it begins with `name:` and `stages:`")
    return cast("JsonObject", document)


def limit_faults(document: Any) -> list[Fault]:
    """What keeps *document* from being stored as JSON, and where it is larger than any pipeline."""
    faults: list[Fault] = []
    waiting: list[tuple[Any, str, int]] = [(document, "", 0)]
    seen = 0
    while waiting and len(faults) < 100:
        value, pointer, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            return [*faults, Fault("", "too_large", f"holds more than {MAX_VALUES} values")]
        if depth > MAX_DEPTH:
            faults.append(Fault(pointer, "too_deep", f"is nested more than {MAX_DEPTH} levels deep"))
        elif isinstance(value, Mapping | list | tuple):
            waiting.extend(reversed(list(_members(cast("Any", value), pointer, depth + 1, faults))))
        elif reason := _not_json(value):
            faults.append(Fault(pointer, "not_json", reason))
    return faults


def unfolded(document: Mapping[str, Any], blocs: Mapping[str, BlocDefinition]) -> Unfolded:
    """*document* with each stage and bloc a mapping: names are looked up in its own ``blocs``, then in *blocs*."""
    result = Unfolded({key: value for key, value in document.items() if key != "blocs"})
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
    result.faults += [Fault(f"/blocs/{_escaped(name)}", "unused", "is in no stage") for name in unused]
    return result


@dataclass(slots=True)
class _Known:
    """The blocs that a stage may name."""

    own: Mapping[str, Any]
    others: Mapping[str, BlocDefinition]
    used: set[str] = field(default_factory=set[str])


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
        return f"/blocs/{_escaped(bloc)}", named
    if bloc in known.others:
        return place, asdict(known.others[bloc])
    message = f"no bloc {bloc!r}; {_near(bloc, [*known.own, *known.others])}"
    result.faults.append(Fault(place, "unknown_bloc", message))
    return place, {"name": bloc, "bloc_type": ""}


def _name_stages(stages: list[Any]) -> None:
    """A stage without a name gets that of its only bloc, else its number, and never one that is taken."""
    written = [cast("JsonObject", stage) for stage in stages if isinstance(stage, dict)]
    taken = {stage.get("name") for stage in written}
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
    blocs = stage.get("blocs", ())
    only = blocs[0] if len(blocs) == 1 else None
    name: Any = cast("JsonObject", only).get("name") if isinstance(only, dict) else None
    return name if isinstance(name, str) and name not in RESERVED_STAGES else None


def _members(
    value: Mapping[Any, Any] | list[Any], pointer: str, depth: int, faults: list[Fault]
) -> Iterator[tuple[Any, str, int]]:
    if not isinstance(value, Mapping):
        for index, member in enumerate(value):
            yield member, f"{pointer}/{index}", depth
        return
    for key, member in value.items():
        if not isinstance(key, str) or _not_json(key):
            faults.append(Fault(pointer, "not_json", "has a key that is no text"))
        else:
            yield member, f"{pointer}/{_escaped(key)}", depth


def _not_json(value: Any) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value if character > "\ud7ff"):
                return "holds a NUL or half of a surrogate pair, which Postgres cannot keep"
            return None
        case int():
            return None if value.bit_length() <= 63 else "is a whole number beyond 64 bits; write it as text"
        case float():
            return None if math.isfinite(value) else "is no finite number"
        case _:
            return f"is a {type(value).__name__}, which JSON has no form for; write it as text"


def _near(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3)
    if near:
        return f"near it: {', '.join(near)}"
    return f"known: {', '.join(sorted(known)[:20])}" if known else "none is known"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


class _NotParsedError(Exception):
    """The text is not of its format."""


def _parsed(text: str, kind: str) -> Any:
    match kind:
        case "JSON":
            return _from_json(text)
        case "TOML":
            import tomllib

            try:
                return tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise _NotParsedError(str(error)) from None
        case _:
            return _from_yaml(text)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise _NotParsedError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError:
        raise _NotParsedError("it holds a number with too many digits") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted({key for key, _ in pairs if [other for other, _ in pairs].count(key) > 1})
        raise _NotParsedError(f"a mapping has the key {', '.join(map(repr, twice))} twice")
    return found


def _from_yaml(text: str) -> Any:
    import yaml

    from cableway.yaml_documents import parse_yaml

    try:
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise _NotParsedError(f"{place}{error.problem}") from None
    except (yaml.YAMLError, ValueError):
        raise _NotParsedError("it holds characters or values that YAML does not have") from None
