"""What a definition of the right shape means: names, numbers, configs, and whether each bloc has what it reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cableway.catalog import Catalog
from cableway.definition import BlocDefinition, PipelineDefinition
from cableway.definitions.bounds import bound_faults
from cableway.definitions.exactness import exactness_faults
from cableway.definitions.pointers import escaped
from cableway.definitions.reference_checks import listing_faults, reference_faults
from cableway.definitions.streams import with_batch_size
from cableway.definitions.triggers import trigger_faults
from cableway.definitions.unfolding import RESERVED_STAGES
from cableway.definitions.wiring import wiring_faults
from cableway.errors import DefinitionError, Fault
from cableway.parameters import default_faults
from cableway.references import Referable

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc

MAX_NAME = 100
"""Characters of a name."""

PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
FOLDER = re.compile(r"[A-Za-z0-9_.-]{1,100}(/[A-Za-z0-9_.-]{1,100}){0,9}", re.ASCII)


def judged(definition: PipelineDefinition, catalog: Catalog) -> tuple[PipelineDefinition, list[Fault]]:
    """*definition* with every config's defaults written out, and every fault in what it means."""
    faults = [
        *_name_faults(definition),
        *bound_faults(definition),
        *_parameter_faults(definition),
        *_setting_faults(definition),
        *trigger_faults(definition),
        *listing_faults(definition),
    ]
    known = Referable(parameters=definition.parameters, env=definition.env, secrets=definition.secrets)
    configs = _Configs(catalog, known)
    definition, more = with_batch_size(definition, configs.known)
    faults += more
    stages = tuple(
        replace(
            stage,
            blocs=tuple(
                configs.normalised(bloc, f"/stages/{number}/blocs/{index}") for index, bloc in enumerate(stage.blocs)
            ),
        )
        for number, stage in enumerate(definition.stages)
    )
    whole = replace(definition, stages=stages)
    faults += configs.faults
    faults += wiring_faults(whole, configs.types, configs.built)
    faults += exactness_faults(whole, configs.built)
    return whole, faults


class _Configs:
    """Each bloc's config judged by its own type."""

    def __init__(self, catalog: Catalog, referable: Referable) -> None:
        self.faults: list[Fault] = []
        self.types: dict[str, type[Bloc]] = {}
        self.built: dict[str, Bloc] = {}
        self._catalog = catalog
        self._referable = referable
        self._unknown: dict[str, str] = {}

    def normalised(self, bloc: BlocDefinition, pointer: str) -> BlocDefinition:
        """*bloc* with its defaults written out, kept as built where it can be; its faults are noted."""
        if self.known(bloc.bloc_type) is None:
            self.faults.append(Fault(f"{pointer}/bloc_type", "unknown_bloc", self._unknown[bloc.bloc_type]))
            return bloc
        self.types[bloc.name] = self._catalog.load(bloc.bloc_type)
        self.faults += reference_faults(bloc.config, self._referable, f"{pointer}/config")
        config, faults = self._catalog.normalise(bloc.bloc_type, bloc.config)
        self.faults += [Fault(f"{pointer}/config{fault.pointer}", fault.code, fault.message) for fault in faults]
        full = replace(bloc, config=config)
        if not faults:
            # Where a reference stands for what is needed to build it, the run resolves it and builds again.
            with suppress(DefinitionError):
                self.built[bloc.name] = self._catalog.build(full, checked=True)
        return full

    def known(self, name: str) -> type[Bloc] | None:
        """The class of bloc type *name*, where there is one."""
        if name not in self._unknown:
            try:
                self._catalog.load(name)
            except DefinitionError as error:
                self._unknown[name] = str(error)
            else:
                self._unknown[name] = ""
        return None if self._unknown[name] else self._catalog.load(name)


def _name_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    if reason := _bad_name(definition.name):
        yield Fault("/name", "name", reason)
    if not definition.stages:
        yield Fault("/stages", "empty", "must hold at least one stage")
    stages = [(f"/stages/{number}", stage) for number, stage in enumerate(definition.stages)]
    yield from _repeated("stage", ((f"{pointer}/name", stage.name) for pointer, stage in stages))
    yield from _repeated(
        "bloc",
        (
            (f"{pointer}/blocs/{index}/name", bloc.name)
            for pointer, stage in stages
            for index, bloc in enumerate(stage.blocs)
        ),
    )
    for pointer, stage in stages:
        if stage.name in RESERVED_STAGES:
            yield Fault(
                f"{pointer}/name", "reserved", f"{', '.join(sorted(RESERVED_STAGES))} have a meaning of their own"
            )
        if not stage.blocs:
            yield Fault(f"{pointer}/blocs", "empty", "must hold at least one bloc")
        yield from _repeated("limit", ((f"{pointer}/limits/{n}", name) for n, name in enumerate(stage.limits)))


def _repeated(what: str, names: Iterable[tuple[str, str]]) -> Iterator[Fault]:
    listed = list(names)
    counts = Counter(name for _, name in listed)
    first: set[str] = set()
    for pointer, name in listed:
        if reason := _bad_name(name):
            yield Fault(pointer, "name", reason)
        elif counts[name] > 1 and name in first:
            yield Fault(pointer, "duplicate", f"there is another {what} named {name!r}")
        first.add(name)


def _bad_name(name: str) -> str | None:
    if not 1 <= len(name) <= MAX_NAME:
        return f"must be 1 to {MAX_NAME} characters"
    if name != name.strip() or not name.isprintable() or "/" in name:
        return "must have no slash, no control character, and no space at its ends"
    return None


def _parameter_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    for name in definition.parameters:
        if not PARAMETER.fullmatch(name):
            message = "a parameter's name is 1 to 64 letters, digits and underscores, and begins with no digit"
            yield Fault(f"/parameters/{escaped(name)}", "name", message)
    yield from default_faults(definition.parameters)


def _setting_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    folder, key = definition.settings.output_dir, definition.settings.overlap_key
    if folder is not None and (not FOLDER.fullmatch(folder) or ".." in folder.split("/")):
        message = "must be a relative path of letters, digits, dots, dashes and underscores that leads downwards"
        yield Fault("/settings/output_dir", "path", message)
    if key is not None:
        yield from reference_faults(key, Referable(parameters=definition.parameters), "/settings/overlap_key")
