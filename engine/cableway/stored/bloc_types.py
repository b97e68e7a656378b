"""
Bloc types described in the database, for those who check definitions where the code is not installed.

Whoever has the code publishes what it says of itself. A definition that is checked by such a description
counts as not checked: the job, which has the code, checks it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from cableway.catalog import Catalog
from cableway.definition import BlocDefinition, JsonObject
from cableway.definitions.json_schema import fitted
from cableway.errors import DefinitionError, Fault
from cableway.store.executor import Step, Steps
from cableway.store.reading import BlocTypeRow, read_bloc_types
from cableway.stored.names import json_text

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc

_AS_GIVEN = "config_as_given"
"""Key of a description: the config keeps values as they were given, as a pydantic model's does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What publishing has changed."""

    published: tuple[str, ...]
    """New bloc types, and those that describe themselves otherwise than before."""
    withdrawn: tuple[str, ...]
    """Those that are described no more."""


def publish(catalog: Catalog, *, prune: bool) -> Steps[Publication]:
    """Store what each type of *catalog* says of itself; with *prune* forget those that it does not have."""
    names = catalog.names()
    published: list[str] = []
    for name in names:
        text = json_text(described(catalog, name))
        rows = yield Step(
            "publish_bloc_type",
            {
                "name": name,
                "description": text,
                "version": _version_of(catalog.load(name)),
                "content_hash": hashlib.sha256(text.encode()).hexdigest(),
            },
        )
        published += [row["name"] for row in rows]
    stored = yield from read_bloc_types()
    withdrawn = [row.name for row in stored if row.name not in names] if prune else []
    for name in withdrawn:
        yield Step("withdraw_bloc_type", {"name": name})
    return Publication(published=tuple(published), withdrawn=tuple(withdrawn))


def described(catalog: Catalog, name: str) -> JsonObject:
    """What is published of type *name*: its own description, and what is needed to judge a config without it."""
    bloc_type = catalog.load(name)
    description = catalog.describe(name)
    lanes = [lane for lane in bloc_type.lanes if lane != "interpreter" or bloc_type.worker is not None]
    as_given = not is_dataclass(bloc_type.Config)
    config = description["config"] if as_given else _with_factories(description["config"], bloc_type.Config)
    return {**description, "lanes": lanes, "config": config, _AS_GIVEN: as_given}


def catalog_of(local: Catalog) -> Steps[PublishedCatalog]:
    """*local* with what is published beside it."""
    return PublishedCatalog(local, (yield from read_bloc_types()))


@dataclass(frozen=True, slots=True)
class PublishedType:
    """What the checks ask of a bloc type, out of its description."""

    bloc_type: str
    kind: str
    lanes: tuple[str, ...]
    Config: type
    """Has the annotations that a config's class would have."""
    worker: str = f"{__name__}:PublishedBloc"
    """Something that can be called: the lane is not listed where the type itself has nothing."""


@dataclass(frozen=True, slots=True)
class PublishedBloc:
    """What the checks ask of a bloc, out of its config."""

    kind: str
    config: Mapping[str, Any]

    @property
    def batched(self) -> bool:
        """As of a loader that does not decide otherwise in its code."""
        return self.config.get("batch_size") is not None

    def sole_target(self, config: Any) -> None:
        """Only the type's code could tell."""
        return

    def commits(self, config: Any) -> None:
        """Only the type's code could tell."""
        return

    def keeps_cursor(self, config: Any) -> bool:
        """As of a loader that does not decide otherwise in its code."""
        return bool(self.config.get("incremental")) and not self.config["incremental"].get("end_value")


class PublishedCatalog(Catalog):
    """The bloc types of *local*, then those of *rows*: they can be checked, and not be built to run."""

    def __init__(self, local: Catalog, rows: Iterable[BlocTypeRow]) -> None:
        super().__init__()
        self._local = local
        self._here = frozenset(local.names())
        self._described = {row.name: row.description for row in rows if row.name not in self._here}

    def has_code(self, name: str) -> bool:
        """Whether the type is one of ours to run."""
        return name in self._here

    def names(self) -> tuple[str, ...]:
        """Every type, sorted."""
        return tuple(sorted({*self._here, *self._described}))

    def load(self, name: str) -> type[Bloc]:
        """The class of bloc type *name*, or what its description says of it."""
        description = self._described.get(name)
        if description is None:
            return self._local.load(name) if name in self._here else super().load(name)
        keys = cast("Mapping[str, Any]", description["config"].get("properties", {}))
        config = type("Config", (), {"__annotations__": dict.fromkeys(keys, Any)})
        made = PublishedType(name, description["kind"], tuple(description["lanes"]), config)
        return cast("type[Bloc]", made)

    def build(self, definition: BlocDefinition, *, checked: bool, secrets: Mapping[str, str] | None = None) -> Bloc:
        """The bloc, or what the checks ask of it where its code is not here."""
        description = self._described.get(definition.bloc_type)
        if description is None:
            return self._local.build(definition, checked=checked, secrets=secrets)
        return cast("Bloc", PublishedBloc(description["kind"], definition.config))

    def normalise(self, name: str, config: Mapping[str, Any]) -> tuple[JsonObject, list[Fault]]:
        """As `Catalog.normalise`, by the schema where the code is not here."""
        description = self._described.get(name)
        if description is None:
            # Raises for a name that neither has.
            self.load(name)
            return self._local.normalise(name, config)
        made, faults = fitted(description["config"], dict(config))
        if faults:
            return dict(config), faults
        return ({**made, **config} if description.get(_AS_GIVEN) else made), []

    def describe(self, name: str) -> JsonObject:
        """As `Catalog.describe`."""
        description = self._described.get(name)
        if description is None:
            self.load(name)
            return self._local.describe(name)
        return {key: value for key, value in description.items() if key != _AS_GIVEN}

    def path(self, name: str) -> str:
        """As `Catalog.path`. Raise `DefinitionError` where the code is not here."""
        if name in self._described:
            raise DefinitionError(f"the code of bloc type {name!r} is not installed here")
        return self._local.path(name)

    def _find(self, name: str) -> type[Bloc]:
        raise self._unknown(name)


def _with_factories(schema: Any, config: type) -> JsonObject:
    """*schema* with the defaults that pydantic leaves out of it because a function makes them."""
    properties = dict(cast("Mapping[str, Any]", schema.get("properties", {})))
    for each in fields(config):
        if each.default_factory is not MISSING and each.name in properties:
            made = json.loads(json.dumps(each.default_factory(), default=asdict))
            properties[each.name] = {**properties[each.name], "default": made}
    return {**schema, "properties": properties}


def _version_of(bloc_type: type[Bloc]) -> str:
    """The version of the distribution that brings the type; empty for a module of nobody's."""
    from importlib.metadata import PackageNotFoundError, version

    package = bloc_type.__module__.partition(".")[0]
    # One that is installed for editing lists no packages, but mostly has the name of its own.
    for name in (package, *_distributions().get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


@cache
def _distributions() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()
