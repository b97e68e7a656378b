"""A pipeline under test: the job's own way from a definition to a record, in memory, with stand-ins where wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cableway.blocs.kinds import Bloc, ExporterBloc, LoaderBloc, Resources
from cableway.catalog import Catalog
from cableway.checks import check_definition, check_document, read_document
from cableway.context import RunFacts
from cableway.definition import Lane, PipelineDefinition, StageDefinition
from cableway.errors import CablewayError
from cableway.redaction import names_in
from cableway.references import with_references
from cableway.running.assembly import Assembly
from cableway.running.attempt import Attempt, Worked
from cableway.running.placing import is_async, method_of
from cableway.running.report import exit_code_of, problem_of, state_of
from cableway.running.stopping import Stop
from cableway.secret_sources import SecretSources
from cableway.store.memory import MemoryRun, MemoryRunStore
from cableway.store.port import Claimed, RunResult
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings
from cableway.testing import standins
from cableway.testing.report import RunReport
from cableway.testing.stages import completed
from cableway.testing.standins import Catch, Limited, Replacement, stand_in

if TYPE_CHECKING:
    from cableway.testing.clock import FakeClock

Pipeline = PipelineDefinition | Mapping[str, Any] | str | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a test wants otherwise than the definition says it."""

    replace: Mapping[str, Replacement]
    capture: bool | Collection[str]
    limit: int | None
    resources: Resources
    variables: Mapping[str, str]
    clock: FakeClock | None


def run_pipeline(  # noqa: PLR0913 - each is a wish of its own
    pipeline: Pipeline,
    *,
    parameters: Mapping[str, Any] | None = None,
    replace: Mapping[str, Replacement] | None = None,
    capture: bool | Collection[str] = True,
    limit: int | None = None,
    blocs: Sequence[str] = (),
    resources: Resources | None = None,
    variables: Mapping[str, str] | None = None,
    clock: FakeClock | None = None,
) -> RunReport:
    """Run *pipeline* (a definition, a document, or the path of one) to its end, and report what came of it.

    *replace* puts something else in the place of a bloc: rows, a function of the `RunContext`, or a bloc that is
    built. What exporters get is caught and not written; *capture* names those that it holds for, False lets all
    write. *limit* takes so many rows of each loader of the first stage. *blocs* are modules with types of your
    own. *variables* take the place of the environment: what ``${env:NAME}`` and ``${secret:NAME}`` stand for.
    *clock* makes waiting take no time.

    Nothing is read from the environment and nothing is sent anywhere. A run that fails is in the report; raise
    `DefinitionError` or `ParameterError` for what keeps it from starting, `ValueError` for a name in *replace*
    or *capture* that the pipeline does not have.
    """
    return completed(
        run_pipeline_async(
            pipeline,
            parameters=parameters,
            replace=replace,
            capture=capture,
            limit=limit,
            blocs=blocs,
            resources=resources,
            variables=variables,
            clock=clock,
        ),
        clock,
    )


async def run_pipeline_async(  # noqa: PLR0913 - as above
    pipeline: Pipeline,
    *,
    parameters: Mapping[str, Any] | None = None,
    replace: Mapping[str, Replacement] | None = None,
    capture: bool | Collection[str] = True,
    limit: int | None = None,
    blocs: Sequence[str] = (),
    resources: Resources | None = None,
    variables: Mapping[str, str] | None = None,
    clock: FakeClock | None = None,
) -> RunReport:
    """`run_pipeline` for a test that is a coroutine; *clock* must be the one whose loop it runs on."""
    catalog = Catalog(blocs)
    definition = _definition(pipeline, catalog)
    wish = _Wish(
        replace=replace or {},
        capture=capture,
        limit=limit,
        resources=resources or Resources(),
        variables=variables or {},
        clock=clock,
    )
    _refuse_unknown(definition, wish)
    store = MemoryRunStore()
    run_id = store.add_run(definition, parameters)
    claim = cast("Claimed", store.claim(run_id))  # nobody else knows of it
    return await _Run(store, claim, definition, catalog, wish).run()


def _definition(pipeline: Pipeline, catalog: Catalog) -> PipelineDefinition:
    match pipeline:
        case PipelineDefinition():
            return check_definition(pipeline, catalog=catalog)
        case str() | Path():
            return check_document(read_document(pipeline), catalog=catalog)
        case _:
            return check_document(pipeline, catalog=catalog)


def _refuse_unknown(definition: PipelineDefinition, wish: _Wish) -> None:
    names = [bloc.name for stage in definition.stages for bloc in stage.blocs]
    caught = () if isinstance(wish.capture, bool) else wish.capture
    unknown = sorted({*wish.replace, *caught} - set(names))
    if unknown:
        raise ValueError(f"no bloc is called {', '.join(unknown)}; there are: {', '.join(names)}")


class _Run:
    """What the job does with a claimed run, without a heartbeat, a log or a last line."""

    def __init__(
        self, store: MemoryRunStore, claim: Claimed, definition: PipelineDefinition, catalog: Catalog, wish: _Wish
    ) -> None:
        self._store = store
        self._claim = claim
        self._wish = wish
        self._catalog = catalog
        self._definition, self._resolved = with_references(definition, claim.run.parameters, wish.variables)
        self._secrets = SecretSources(("env:",), wish.variables).values(
            name for stage in self._definition.stages for bloc in stage.blocs for name in names_in(bloc.config)
        )
        self._blocs: dict[str, Bloc] = {}
        self._attempt: Attempt | None = None
        self._assembly: Assembly | None = None
        run, lease = claim.run, claim.lease
        self._facts = RunFacts(
            run_id=run.run_id,
            pipeline=run.pipeline,
            version=run.version,
            line=run.line,
            attempt=lease.attempt,
            lease_token=lease.token,
            parameters=run.parameters,
        )
        self._telemetry = RunTelemetry(TelemetrySettings(), self._facts)

    async def run(self) -> RunReport:
        """Build, work, record, report."""
        try:
            attempt = self._made_attempt()
        except CablewayError as error:
            worked = Worked({}, error)
        else:
            worked = await attempt.work()
        result = self._recorded(worked)
        return self._report(self._store.runs[self._facts.run_id], result, worked)

    def _made_attempt(self) -> Attempt:
        stages = tuple(self._stage(number, stage) for number, stage in enumerate(self._definition.stages))
        self._assembly = Assembly(
            replace(self._definition, stages=stages), self._blocs, self._facts, secrets=self._secrets
        )
        self._attempt = Attempt(
            self._assembly,
            self._store,
            self._claim.lease,
            Stop(),
            observers=self._telemetry.observers,
            span_context=self._telemetry.span_context,
            clock=self._wish.clock,
        )
        return self._attempt

    def _stage(self, number: int, stage: StageDefinition) -> StageDefinition:
        """Build the blocs of *stage*; those that stand in for others run beside the test."""
        definitions = list(stage.blocs)
        for index, definition in enumerate(definitions):
            built = self._catalog.build(
                definition, checked=definition.name not in self._resolved, secrets=self._secrets
            )
            bloc = self._instead(built, first=number == 0)
            if bloc is not built:
                definitions[index] = replace(definition, lane=_lane_of(bloc))
            bloc.bind(self._wish.resources)
            self._blocs[definition.name] = bloc
        return replace(stage, blocs=tuple(definitions))

    def _instead(self, bloc: Bloc, *, first: bool) -> Bloc:
        wish = self._wish
        if bloc.name in wish.replace:
            bloc = stand_in(bloc.name, bloc, wish.replace[bloc.name])
        elif isinstance(bloc, ExporterBloc) and (wish.capture is True or _holds(wish.capture, bloc.name)):
            return Catch(bloc)
        if first and wish.limit is not None and isinstance(bloc, LoaderBloc):
            return Limited(bloc, wish.limit)
        return bloc

    def _recorded(self, worked: Worked) -> RunResult:
        error, assembly, attempt = worked.error, self._assembly, self._attempt
        rows_in, rows_out = assembly.rows_in_and_out(committed=worked.committed) if assembly else (0, 0)
        result = RunResult(
            state=state_of(error, worked.counts.get("failed", 0) + worked.counts.get("lost", 0)),
            exit_code=exit_code_of(error),
            counts=worked.counts,
            rows_in=rows_in,
            rows_out=rows_out,
            stages=assembly.stage_records(attempt.pipeline) if assembly and attempt else (),
            problem=problem_of(error) if error is not None else None,
            trace_id=self._telemetry.trace_id,
            outputs=assembly.outputs(committed=worked.committed) if assembly else {},
        )
        spans = self._telemetry.end(
            result.state, result.exit_code, counts=result.counts, problem=result.problem, stages=result.stages
        )
        self._telemetry.flush()
        self._store.add_spans(self._claim.lease, spans)
        self._store.finish(self._claim.lease, result)
        return result

    def _report(self, run: MemoryRun, result: RunResult, worked: Worked) -> RunReport:
        return RunReport(
            state=result.state,
            exit_code=result.exit_code,
            counts=result.counts,
            rows_in=result.rows_in,
            rows_out=result.rows_out,
            stages=tuple(result.stages),
            exported={name: tuple(bloc.caught) for name, bloc in self._blocs.items() if isinstance(bloc, Catch)},
            outputs=result.outputs,
            dead_letters=tuple(run.letters.values()),
            spans=tuple(run.spans.values()),
            error=worked.error,
            problem=result.problem,
        )


def _lane_of(bloc: Bloc) -> Lane:
    ours = type(bloc).__module__ == standins.__name__
    return "async" if ours or is_async(method_of(bloc)) else "thread"


def _holds(names: bool | Collection[str], name: str) -> bool:  # noqa: FBT001 - the public argument, as it came
    return not isinstance(names, bool) and name in names
