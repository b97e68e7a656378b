"""Stored blocs: made, changed together with every pipeline that names them, and deleted when none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cableway.catalog import Catalog
from cableway.definitions.pointers import escaped
from cableway.errors import DefinitionError, Fault
from cableway.store.executor import Step, Steps
from cableway.store.reading import BlocRow, read_blocs, read_version
from cableway.store.storable import storable_text
from cableway.stored.bloc_types import catalog_of
from cableway.stored.names import (
    check_revision,
    in_use,
    json_faults,
    json_text,
    name_faults,
    only,
    refuse,
    taken,
    titled,
)
from cableway.stored.versions import SavedVersion, Signature, check, store, surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedBloc:
    """A bloc as it stands now, and the versions that its change has made."""

    bloc: BlocRow
    versions: tuple[SavedVersion, ...]

    @property
    def name(self) -> str:
        """The bloc's name."""
        return self.bloc.name


def create(name: str, bloc_type: str, config: Mapping[str, Any], description: str, catalog: Catalog) -> Steps[BlocRow]:
    """Store a new bloc. Raise `DefinitionError` with every fault, `TakenError` where the name is another's."""
    yield from _judge(name, bloc_type, config, catalog)
    rows = yield Step(
        "insert_bloc",
        {
            "name": name,
            "bloc_type": bloc_type,
            "config": json_text(dict(config)),
            "description": storable_text(description),
        },
    )
    if not rows:
        raise taken("bloc", name)
    return BlocRow(**rows[0])


def update(
    name: str,
    catalog: Catalog,
    signature: Signature,
    *,
    bloc_type: str | None,
    config: Mapping[str, Any] | None,
    description: str | None,
    expected_revision: int | None,
) -> Steps[ChangedBloc]:
    """Change what is not None, and make a new version of each pipeline that names the bloc.

    Raise `UnknownNameError`, `ConflictError`, or `DefinitionError` with every fault in the bloc or those pipelines:
    then nothing has changed.
    """
    yield Step("lock_blocs", {})
    before = only("bloc", name, (yield from read_blocs(name)))
    check_revision("bloc", before, expected_revision)
    new_type = before.bloc_type if bloc_type is None else bloc_type
    new_config = before.config if config is None else dict(config)
    new_description = before.description if description is None else storable_text(description)
    if (new_type, new_config, new_description) == (before.bloc_type, before.config, before.description):
        return ChangedBloc(bloc=before, versions=())
    yield from _judge(name, new_type, new_config, catalog)
    rows = yield Step(
        "update_bloc",
        {"name": name, "bloc_type": new_type, "config": json_text(new_config), "description": new_description},
    )
    versions = yield from _follow(name, catalog, signature)
    return ChangedBloc(bloc=BlocRow(**rows[0]), versions=versions)


def delete(name: str, *, expected_revision: int | None) -> Steps[None]:
    """Delete the bloc. Raise `UnknownNameError`, `ConflictError`, or `InUseError` where a pipeline names it."""
    yield Step("lock_blocs", {})
    before = only("bloc", name, (yield from read_blocs(name)))
    check_revision("bloc", before, expected_revision)
    users = yield Step("pipelines_of_bloc", {"bloc": name})
    if users:
        raise in_use("bloc", name, "pipeline", [row["name"] for row in users])
    yield Step("delete_bloc", {"name": name})


def _judge(name: str, bloc_type: str, config: Mapping[str, Any], catalog: Catalog) -> Steps[None]:
    faults = name_faults(name) + json_faults(config, "/config")
    if not faults:
        known = yield from catalog_of(catalog)
        try:
            _, found = known.normalise(bloc_type, config)
        except DefinitionError as error:
            faults += error.faults
        else:
            faults += [Fault(f"/config{fault.pointer}", fault.code, fault.message) for fault in found]
    refuse(f"{titled('bloc', name)} ({storable_text(str(bloc_type))[:80]})", faults)


def _follow(name: str, catalog: Catalog, signature: Signature) -> Steps[tuple[SavedVersion, ...]]:
    """New versions of the pipelines that name the bloc, or one error with what is wrong in any of them."""
    noted = Signature(author=signature.author, note=signature.note or f"{titled('bloc', name)} was changed")
    made: list[SavedVersion] = []
    faults: list[Fault] = []
    known = yield from surroundings(catalog)
    for row in (yield Step("pipelines_of_bloc", {"bloc": name})):
        pipeline: str = row["name"]
        yield Step("lock_pipeline", {"pipeline": pipeline})
        before = (yield Step("latest_version", {"pipeline": pipeline}))[0]
        active = yield from read_version(pipeline)
        if active.archived_at is not None or name not in active.bloc_names:
            continue
        try:
            checked = check(active.source, known, with_triggers=False)
        except DefinitionError as error:
            faults += [_of_pipeline(pipeline, fault) for fault in error.faults]
            continue
        saved = yield from store(checked, before, noted)
        made += [saved] if saved.created else []
    refuse(f"{titled('bloc', name)} would break what names it", faults)
    return tuple(made)


def _of_pipeline(pipeline: str, fault: Fault) -> Fault:
    """*fault* among those of several pipelines."""
    return Fault(
        f"/pipelines/{escaped(pipeline)}{fault.pointer}", fault.code, f"pipeline {pipeline!r}: {fault.message}"
    )
