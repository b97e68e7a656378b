"""What a definition of the right shape means: names, numbers, configs, and whether each bloc has what it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cableway.catalog import Catalog
from cableway.definition import BlocDefinition, PipelineDefinition
from cableway.documents import RESERVED_STAGES
from cableway.errors import DefinitionError, Fault
from cableway.parameters import default_faults
from cableway.references import resolve
from cableway.wiring import wiring_faults

if TYPE_CHECKING:
    from cableway.blocs.kinds import Bloc

MAX_NAME = 100
_AT_LEAST_ONE = "at_least_one"
_ABOVE_ZERO = "above_zero"
_NOT_NEGATIVE = "not_negative"
_NUMBERS: Mapping[str, Mapping[str, str]] = {
    "": {
        "workers": _AT_LEAST_ONE,
        "queue_size": _AT_LEAST_ONE,
        "queue_bytes": _AT_LEAST_ONE,
        "max_item_bytes": _AT_LEAST_ONE,
        "gather_bytes": _AT_LEAST_ONE,
        "chunk": _AT_LEAST_ONE,
        "timeout_s": _ABOVE_ZERO,
        "queue_timeout_s": _ABOVE_ZERO,
        "rate_per_s": _ABOVE_ZERO,
    },
    "/retry": {
        "attempts": _AT_LEAST_ONE,
        "initial_s": _NOT_NEGATIVE,
        "factor": _AT_LEAST_ONE,
        "max_s": _NOT_NEGATIVE,
    },
    "/batch": {"count": _AT_LEAST_ONE, "size_bytes": _AT_LEAST_ONE, "period_s": _ABOVE_ZERO},
    "/settings": {
        "timeout_s": _ABOVE_ZERO,
        "attempts": _AT_LEAST_ONE,
        "grace_s": _NOT_NEGATIVE,
        "lease_ttl_s": _AT_LEAST_ONE,
    },
}
_RULES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    _AT_LEAST_ONE: (lambda value: value >= 1, "must be at least 1"),
    _ABOVE_ZERO: (lambda value: value > 0, "must be above 0"),
    _NOT_NEGATIVE: (lambda value: value >= 0, "must not be negative"),
}


def judged(definition: PipelineDefinition, catalog: Catalog) -> tuple[PipelineDefinition, list[Fault]]:
    """*definition* with every config's defaults written out, and every fault in what it means."""
    faults = [*_name_faults(definition), *_number_faults(definition), *default_faults(definition.parameters)]
    configs = _Configs(catalog, definition.parameters)
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
    return whole, faults


class _Configs:
    """Each bloc's config judged by its own type."""

    def __init__(self, catalog: Catalog, parameters: Mapping[str, Any]) -> None:
        self.faults: list[Fault] = []
        self.types: dict[str, type[Bloc]] = {}
        self.built: dict[str, Bloc] = {}
        self._catalog = catalog
        self._parameters = dict.fromkeys(parameters)
        self._unknown: dict[str, str] = {}

    def normalised(self, bloc: BlocDefinition, pointer: str) -> BlocDefinition:
        """*bloc* with its defaults written out, kept as built where it can be; its faults are noted."""
        if not self._is_known(bloc.bloc_type):
            self.faults.append(Fault(f"{pointer}/bloc_type", "unknown_bloc", self._unknown[bloc.bloc_type]))
            return bloc
        self.types[bloc.name] = self._catalog.load(bloc.bloc_type)
        try:
            resolve(bloc.config, self._parameters, f"{pointer}/config")
        except DefinitionError as error:
            self.faults += error.faults
        config, faults = self._catalog.normalise(bloc.bloc_type, bloc.config)
        self.faults += [Fault(f"{pointer}/config{fault.pointer}", fault.code, fault.message) for fault in faults]
        full = replace(bloc, config=config)
        if not faults:
            # Where a reference stands for what is needed to build it, the run resolves it and builds again.
            with suppress(DefinitionError):
                self.built[bloc.name] = self._catalog.build(full, checked=True)
        return full

    def _is_known(self, name: str) -> bool:
        if name not in self._unknown:
            try:
                self._catalog.load(name)
            except DefinitionError as error:
                self._unknown[name] = str(error)
            else:
                self._unknown[name] = ""
        return not self._unknown[name]


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


def _number_faults(definition: PipelineDefinition) -> Iterator[Fault]:
    for number, stage in enumerate(definition.stages):
        pointer = f"/stages/{number}"
        yield from _ranges(stage, pointer, "")
        yield from _ranges(stage.retry, pointer, "/retry")
        if stage.batch is not None:
            yield from _ranges(stage.batch, pointer, "/batch")
            if stage.batch.count is None and stage.batch.size_bytes is None and stage.batch.period_s is None:
                yield Fault(f"{pointer}/batch", "empty", "needs a count, size_bytes or period_s")
    yield from _ranges(definition.settings, "", "/settings")
    if not _is_share(definition.settings.max_errors):
        yield Fault("/settings/max_errors", "range", "must be a count from 0, or a percentage such as '1%'")


def _ranges(part: Any, pointer: str, inside: str) -> Iterator[Fault]:
    for name, rule in _NUMBERS[inside].items():
        value = getattr(part, name)
        holds, message = _RULES[rule]
        if value is not None and not holds(value):
            yield Fault(f"{pointer}{inside}/{name}", "range", message)


def _is_share(value: int | str) -> bool:
    if isinstance(value, int):
        return value >= 0
    number = value.removesuffix("%")
    try:
        return number != value and 0 <= float(number) <= 100
    except ValueError:
        return False
