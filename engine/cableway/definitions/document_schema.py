"""
The published JSON Schema of a pipeline document, so that editors complete it and show what is wrong.

It comes from the classes, bounds and bloc types that `cableway.checks` judges by. What it accepts may still
mean nothing (a bloc that reads one which is not there); what it refuses, the checks refuse as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from cableway.catalog import Catalog
from cableway.definition import JsonObject, PipelineDefinition
from cableway.definitions.bounds import BOUNDS, SHARE
from cableway.definitions.configs import adapter_of
from cableway.definitions.cron_grammar import MAX_LENGTH
from cableway.definitions.meaning import FOLDER, MAX_NAME, PARAMETER
from cableway.definitions.reference_checks import SECRET, VARIABLE
from cableway.definitions.triggers import HOOK_NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAME: Mapping[str, Any] = {"minLength": 1, "maxLength": MAX_NAME, "pattern": r"^[^/\s]([^/\t\n\r]*[^/\s])?$"}
_REFERENCE: Mapping[str, Any] = {
    "title": "Reference",
    "description": "A text with ${param:NAME}, ${env:NAME} or ${secret:NAME}, known when the run starts.",
    "type": "string",
    "pattern": r"\$\{(param|env|secret):",
}
_ABOUT = ("title", "description", "default", "examples", "deprecated")


def pipeline_schema(catalog: Catalog) -> JsonObject:
    """JSON Schema of a document whose blocs are of the types in *catalog*.

    Raise `DefinitionError` naming the package or module where a type of the catalog cannot be loaded.
    """
    schema = adapter_of(PipelineDefinition).json_schema()
    parts = cast("dict[str, JsonObject]", schema.pop("$defs"))
    _bind(parts)
    _name(schema, parts)
    parts |= _bloc_parts(catalog, parts.pop("BlocDefinition"))
    stage = parts["StageDefinition"]
    stage["required"] = ["blocs"]
    entries = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Entry"}}
    stage["properties"]["blocs"] = {**entries, "description": stage["properties"]["blocs"]["description"]}
    schema["properties"] |= {
        "$schema": {"type": "string", "description": "Where this schema is, for editors."},
        "blocs": {
            "type": "object",
            "description": "Blocs by name, for stages to name.",
            "additionalProperties": {"$ref": "#/$defs/Bloc"},
        },
        "stages": {
            "type": "array",
            "minItems": 1,
            "description": "In order: the first one reads, the last one writes.",
            "items": {"anyOf": [{"$ref": "#/$defs/StageDefinition"}, entries, {"$ref": "#/$defs/Name"}]},
        },
    }
    whole = {"$schema": DIALECT, **schema, "title": "Cableway pipeline", "$defs": dict(sorted(parts.items()))}
    for part in (whole, *parts.values()):
        _untitle(part)
    return whole


def _bind(parts: Mapping[str, JsonObject]) -> None:
    """Write the bounds of numbers and texts into the parts."""
    for part, bounds in BOUNDS.items():
        for name, bound in bounds.items():
            parts[part.__name__]["properties"][name] |= bound.schema()
    settings = parts["RunSettings"]["properties"]
    settings["max_errors"]["anyOf"] = [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": SHARE}]
    settings["output_dir"] |= {"pattern": _whole(FOLDER.pattern)}
    parts["BatchDefinition"]["anyOf"] = [{"required": [name]} for name in ("count", "size_bytes", "period_s")]
    trigger = parts["TriggerDefinition"]
    trigger["properties"]["expression"]["maxLength"] = MAX_LENGTH
    trigger["allOf"] = [
        _of_kind("webhook", {"anyOf": [{"required": ["secrets"]}, {**_UNSIGNED, "required": ["auth"]}]}),
        _of_kind("event", {"required": ["match"], "properties": {"match": {"type": "object", "minProperties": 1}}}),
        {"anyOf": [{"required": ["kind"], "properties": {"kind": {"not": {"const": "cron"}}}}, _CRON]},
    ]


_UNSIGNED: Mapping[str, Any] = {"properties": {"auth": {"const": "none"}}}
_CRON: Mapping[str, Any] = {"required": ["expression"], "properties": {"expression": {"type": "string"}}}


def _of_kind(kind: str, then: Mapping[str, Any]) -> JsonObject:
    return {"if": {"required": ["kind"], "properties": {"kind": {"const": kind}}}, "then": dict(then)}


def _name(schema: JsonObject, parts: dict[str, JsonObject]) -> None:
    """Write the form of names into *schema* and the parts."""
    schema["properties"]["name"] |= _NAME
    schema["properties"]["parameters"]["propertyNames"] = {"pattern": _whole(PARAMETER.pattern)}
    schema["properties"]["secrets"]["items"] = {"type": "string", "pattern": _whole(SECRET.pattern)}
    schema["properties"]["env"]["items"] = {"type": "string", "pattern": _whole(VARIABLE.pattern)}
    schema["properties"]["triggers"]["propertyNames"] = {"pattern": _whole(HOOK_NAME.pattern)}
    for part in ("StageDefinition", "BlocDefinition"):
        parts[part]["properties"]["name"] |= _NAME
    parts["Name"] = {"type": "string", "description": "The name of a bloc.", **_NAME}


def _bloc_parts(catalog: Catalog, form: JsonObject) -> dict[str, JsonObject]:
    """A bloc as the union of its types, told apart by ``bloc_type``, and an entry of a stage."""
    names = catalog.names()
    parts: dict[str, JsonObject] = {}
    for name in names:
        parts |= _type_parts(catalog, name, form)
    parts["Reference"] = dict(_REFERENCE)
    parts["Bloc"] = {
        "type": "object",
        "description": form["description"],
        "required": ["bloc_type"],
        "properties": {"bloc_type": {"enum": list(names)}},
        "oneOf": [{"$ref": f"#/$defs/bloc.{name}"} for name in names],
    }
    parts["Entry"] = {
        "anyOf": [{"$ref": "#/$defs/Name"}, {"allOf": [{"$ref": "#/$defs/Bloc"}, {"required": ["name"]}]}]
    }
    return parts


def _type_parts(catalog: Catalog, name: str, form: JsonObject) -> dict[str, JsonObject]:
    """What a bloc of type *name* looks like, with the parts that its config is made of."""
    described = catalog.describe(name)
    # Parts of configs move up beside those of all others, under the name of their type.
    config = json.loads(json.dumps(described["config"]).replace('"#/$defs/', f'"#/$defs/config.{name}.'))
    inner = cast("JsonObject", config.pop("$defs", {}))
    parts = {f"config.{name}.{part}": _referable(schema) for part, schema in inner.items()}
    lane: Any = {**form["properties"]["lane"], "anyOf": [{"enum": described["lanes"]}, {"type": "null"}]}
    properties = {
        **form["properties"],
        "bloc_type": {"const": name, "description": described["summary"]},
        "config": _referable(config),
        "lane": lane,
    }
    parts[f"bloc.{name}"] = {
        "type": "object",
        "title": name,
        "description": described["summary"],
        "properties": properties,
        "required": ["bloc_type", *(["config"] if config.get("required") else [])],
        "additionalProperties": False,
    }
    return parts


def _referable(schema: Any) -> JsonObject:
    """*schema* with a reference allowed in the place of every value within it."""
    made = dict(cast("Mapping[str, Any]", schema))
    for key in ("properties", "patternProperties"):
        if key in made:
            made[key] = {name: _or_reference(member) for name, member in made[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), Mapping):
            made[key] = _or_reference(made[key])
    if "prefixItems" in made:
        made["prefixItems"] = [_or_reference(member) for member in made["prefixItems"]]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in made:
            made[key] = [_referable(member) for member in cast("Iterable[Any]", made[key])]
    return made


def _or_reference(schema: Any) -> JsonObject:
    made = _referable(schema)
    about = {key: made.pop(key) for key in _ABOUT if key in made}
    if made == {"type": "string"} or not made:
        return {**made, **about}
    return {**about, "anyOf": [made, {"$ref": "#/$defs/Reference"}]}


def _untitle(part: JsonObject) -> None:
    """Take out the titles that only say a key once more."""
    for member in part.get("properties", {}).values():
        member.pop("title", None)
        _untitle(member)


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"
