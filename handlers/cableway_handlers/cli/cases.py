"""``cableway test``: cases in YAML files, each an input and what must come out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definitions.documents import read_document
from cableway.errors import EXIT_OK, EXIT_RUN_FAILED, DefinitionError, Fault
from cableway.settings import get_settings
from cableway_handlers.cli import screen

if TYPE_CHECKING:
    from cableway.definition import PipelineDefinition

NAMES = ("*cases.yaml", "*cases.yml")
KEYS = ("name", "bloc", "stage", "input", "inputs", "parameters", "output", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: what goes into a bloc, a stage or (with neither) the whole pipeline, and what is to come of it."""

    name: str
    bloc: str | None
    stage: str | None
    inputs: Mapping[str, Any] | None
    """Data by bloc."""
    input: Any
    """Data for the one input there is, where ``inputs`` is not given."""
    parameters: Mapping[str, Any]
    expected: Any
    error: str | None
    """The type of the error that is to come, or words of its message."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A file of cases with the pipeline that they are about."""

    path: Path
    pipeline: PipelineDefinition
    catalog: Catalog
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case; ``wrong`` says what is not as expected."""

    file: Path
    name: str
    wrong: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.wrong


def test(path: Path, *, json: bool) -> int:
    """Run every case below *path* and show what came of it; 3 where one did not come out as expected.

    Raise `DefinitionError` where a file of cases, or its pipeline, is faulty.
    """
    catalog = Catalog(get_settings().blocs)
    outcomes: list[Outcome] = []
    for suite in [read_suite(file, catalog) for file in _files(path)]:
        for case in suite.cases:
            outcomes.append(_outcome(suite, case))
            if not json:
                _show(outcomes[-1])
    failed = sum(not outcome.passed for outcome in outcomes)
    if json:
        screen.as_json([{**_as_dict(outcome), "passed": outcome.passed} for outcome in outcomes])
    else:
        screen.say(f"{len(outcomes) - failed} passed, {failed} failed")
    return EXIT_RUN_FAILED if failed else EXIT_OK


def read_suite(path: Path, catalog: Catalog) -> Suite:
    """The cases in the file at *path*. Raise `DefinitionError` with every fault of the file or of its pipeline."""
    document = read_document(path)
    written = document.get("pipeline", "pipeline.yaml")
    listed = document.get("cases")
    if not isinstance(written, str) or not isinstance(listed, list) or not listed:
        raise DefinitionError(f"{path}: a file of cases has `pipeline:`, a path beside it, and a list of `cases:`")
    pipeline = check_document(read_document(path.parent / written), catalog=catalog)
    blocs = [bloc.name for stage in pipeline.stages for bloc in stage.blocs]
    stages = [stage.name for stage in pipeline.stages]
    entries = list(enumerate(cast("list[Any]", listed)))
    faults = [fault for number, entry in entries for fault in _faults(number, entry, blocs, stages)]
    if faults:
        shown = "; ".join(f"{fault.pointer}: {fault.message}" for fault in faults[:3])
        raise DefinitionError(f"{path}: {shown}", faults)
    return Suite(path, pipeline, catalog, tuple(_case(number, entry) for number, entry in entries))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted({file for pattern in NAMES for file in path.rglob(pattern) if _is_visible(file.relative_to(path))})
    if not found:
        raise DefinitionError(f"{path}: no cases in this folder; they stand in files named {' or '.join(NAMES)}")
    return found


def _is_visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _faults(number: int, entry: Any, blocs: list[str], stages: list[str]) -> Iterator[Fault]:
    pointer = f"/cases/{number}"
    if not isinstance(entry, Mapping):
        yield Fault(pointer, "type", "must be a mapping")
        return
    case = cast("Mapping[str, Any]", entry)
    for key in case:
        if key not in KEYS:
            yield Fault(f"{pointer}/{key}", "unknown", f"is no key of a case; there are: {', '.join(KEYS)}")
    yield from _meaning_faults(pointer, case, blocs, stages)


def _meaning_faults(pointer: str, case: Mapping[str, Any], blocs: list[str], stages: list[str]) -> Iterator[Fault]:
    for key, known in (("bloc", blocs), ("stage", stages)):
        if case.get(key) is not None and case[key] not in known:
            yield Fault(f"{pointer}/{key}", "unknown", f"is none of the pipeline; there are: {', '.join(known)}")
    for one, other in (("bloc", "stage"), ("input", "inputs")):
        if one in case and other in case:
            yield Fault(f"{pointer}/{other}", "invalid", f"cannot stand beside {one!r}")
    for key in ("inputs", "parameters"):
        if not isinstance(case.get(key, {}), Mapping):
            yield Fault(f"{pointer}/{key}", "type", "must be a mapping of names to values")
    if ("output" in case) == ("error" in case):
        yield Fault(pointer, "missing", "must say what is to come: either `output` or `error`")


def _case(number: int, entry: Mapping[str, Any]) -> Case:
    error = entry.get("error")
    return Case(
        name=str(entry.get("name", f"case {number + 1}")),
        bloc=entry.get("bloc"),
        stage=entry.get("stage"),
        inputs=entry.get("inputs"),
        input=entry.get("input"),
        parameters=entry.get("parameters", {}),
        expected=entry.get("output"),
        error=None if error is None else str(error),
    )


def _outcome(suite: Suite, case: Case) -> Outcome:
    from cableway_handlers.cli.case_runs import wrong_with

    began = time.monotonic()
    wrong = wrong_with(suite, case)
    return Outcome(file=suite.path, name=case.name, wrong=wrong, seconds=round(time.monotonic() - began, 3))


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {"file": outcome.file, "name": outcome.name, "wrong": outcome.wrong, "seconds": outcome.seconds}


def _show(outcome: Outcome) -> None:
    out = screen.console()
    mark, style = ("passed", "green") if outcome.passed else ("FAILED", "red")
    out.print(screen.plain(f"{mark}  {outcome.file}: {outcome.name}", style))
    for line in outcome.wrong:
        out.print(screen.plain(f"        {line}"), soft_wrap=True)
