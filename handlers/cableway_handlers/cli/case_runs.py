"""What comes of a case, and what of that is not as expected."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from cableway.blocs.tables import is_tabular, to_arrow
from cableway.definitions.pointers import escaped
from cableway.parameters import checked_parameters
from cableway.redaction import names_in
from cableway.references import with_references
from cableway.running.excerpt import inputs_of
from cableway.secret_sources import SecretSources
from cableway.settings import get_environment, get_settings
from cableway.store.storable import storable_json
from cableway.testing import run_bloc, run_pipeline

if TYPE_CHECKING:
    from cableway.definition import BlocDefinition, StageDefinition
    from cableway.testing import RunReport
    from cableway_handlers.cli.cases import Case, Suite

SHOWN = 5
"""Differences that are shown of one case."""


class _UnexpectedError(Exception):
    """The whole pipeline failed, with these words."""


def wrong_with(suite: Suite, case: Case) -> list[str]:
    """What of *case* did not come out as expected; empty where all did."""
    try:
        came = _plain(_ran(suite, case))
    except Exception as error:  # noqa: BLE001 - whatever a bloc raises is what came of the case
        told = str(error) if isinstance(error, _UnexpectedError) else f"{type(error).__name__}: {error}"
        if case.error is not None and case.error in told:
            return []
        expected = "an output" if case.error is None else f"the error {case.error!r}"
        return [f"expected {expected}, and it raised {told}"]
    if case.error is not None:
        return [f"expected the error {case.error!r}, and it gave {_shown(came)}"]
    wrong = list(_mismatches(case.expected, came, ""))
    return wrong if len(wrong) <= SHOWN else [*wrong[:SHOWN], f"and {len(wrong) - SHOWN} more"]


def _ran(suite: Suite, case: Case) -> Any:
    if case.bloc is None and case.stage is None:
        return _whole(suite, case)
    parameters = checked_parameters(suite.pipeline.parameters, case.parameters)
    variables = get_environment()
    definition, resolved = with_references(suite.pipeline, parameters, variables)
    previous: StageDefinition | None = None
    for stage in definition.stages:
        members = [bloc for bloc in stage.blocs if case.stage == stage.name or case.bloc == bloc.name]
        if members:
            came = {bloc.name: _one(suite, case, bloc, previous, parameters, resolved) for bloc in members}
            return came if len(stage.blocs) > 1 and case.stage is not None else came[members[0].name]
        previous = stage
    raise AssertionError("the bloc or stage is one of the pipeline")


def _one(
    suite: Suite,
    case: Case,
    bloc: BlocDefinition,
    previous: StageDefinition | None,
    parameters: Mapping[str, Any],
    resolved: frozenset[str],
) -> Any:
    names = inputs_of(bloc, previous, suite.catalog)
    inputs = case.inputs
    if inputs is None and case.input is not None:
        inputs = {names[0] if names else "input": case.input}
    secrets = SecretSources(get_settings().secrets, get_environment()).values(names_in(bloc.config))
    built = suite.catalog.build(bloc, checked=bloc.name not in resolved, secrets=secrets)
    return run_bloc(built, inputs=inputs, parameters=parameters)


def _whole(suite: Suite, case: Case) -> dict[str, Any]:
    """What each exporter would have written. Raise what the run failed of, its items' errors first."""
    given = case.inputs
    if given is None:
        first = suite.pipeline.stages[0].blocs[0].name
        given = {} if case.input is None else {first: case.input}
    definition = replace(suite.pipeline, triggers={})
    report = run_pipeline(
        definition, parameters=case.parameters, replace=given, blocs=get_settings().blocs, capture=True
    )
    if not report.ok:
        raise _UnexpectedError(_words(report))
    return {name: _written(report, name) for name in report.exported}


def _written(report: RunReport, exporter: str) -> list[Any]:
    try:
        return report.rows(exporter)
    except TypeError:  # no tables
        return list(report.exported[exporter])


def _words(report: RunReport) -> str:
    letters = [f"{letter.error_type}: {letter.message} (in bloc {letter.bloc})" for letter in report.dead_letters[:3]]
    return "; ".join([*letters, *([str(report.error)] if report.error else [])])


def _plain(value: Any) -> Any:
    """*value* as JSON values, tables as lists of rows; dates are text."""
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in cast("list[Any]", value)]
    if is_tabular(value):
        value = to_arrow(value).to_pylist()
    return json.loads(storable_json(value))


def _mismatches(expected: Any, came: Any, pointer: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(came, dict):
        wanted, there = cast("dict[str, Any]", expected), cast("dict[str, Any]", came)
        for key in [*wanted, *(key for key in there if key not in wanted)]:
            place = f"{pointer}/{escaped(str(key))}"
            if key not in there:
                yield f"{place}: expected {_shown(wanted[key])}, and it is not there"
            elif key not in wanted:
                yield f"{place}: not expected, and it is {_shown(there[key])}"
            else:
                yield from _mismatches(wanted[key], there[key], place)
    elif isinstance(expected, list) and isinstance(came, list):
        rows, rows_there = cast("list[Any]", expected), cast("list[Any]", came)
        for index, (row, row_there) in enumerate(zip(rows, rows_there, strict=False)):
            yield from _mismatches(row, row_there, f"{pointer}/{index}")
        if len(rows) != len(rows_there):
            yield f"{pointer or '/'}: expected {len(rows)} in the list, and there are {len(rows_there)}"
    elif not _same(expected, came):
        yield f"{pointer or '/'}: expected {_shown(expected)}, and it is {_shown(came)}"


def _same(expected: Any, came: Any) -> bool:
    """Numbers that differ in what a float cannot hold are the same; a truth value is no number."""
    if isinstance(expected, bool) or isinstance(came, bool):
        return expected is came
    if isinstance(expected, int | float) and isinstance(came, int | float):
        return math.isclose(expected, came, rel_tol=1e-9)
    return bool(expected == came)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."
