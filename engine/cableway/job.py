"""
The composition root: claim a run, build what its version names, let it run, record what came of it.

This is the one module that knows concrete stores, catalogs and telemetry. What a container does
is `run_job`; it returns the exit code and has printed one JSON object as its last line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cableway.assembly import Assembly
from cableway.attempt import Attempt, Worked
from cableway.blocs.kinds import Bloc, Resources
from cableway.catalog import Catalog
from cableway.context import RunFacts
from cableway.definition import DOCUMENT_FORMAT, PipelineDefinition
from cableway.errors import EXIT_LEASE_LOST, EXIT_OK, CablewayError, SettingsError
from cableway.letters import DeadLetterBox
from cableway.progress import Progress
from cableway.references import with_parameters
from cableway.report import exit_code_of, final_line, problem_of, say, state_of
from cableway.settings import Settings, environment, read_settings
from cableway.store.heartbeat import Heartbeat
from cableway.store.port import Claimed, Ended, Held, Lease, RunRecord, RunResult, RunState, RunStore
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("cableway.job")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What to run: a recorded run by its id, a pipeline by name (recorded first), or a file (no database)."""

    run_id: str | None = None
    pipeline: str | None = None
    file: str | None = None
    key: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Opened:
    """A store with a run in it, and how to open another one like it for the heartbeat."""

    store: RunStore
    another: Callable[[], RunStore]
    run_id: str


def run_job(request: JobRequest, variables: Mapping[str, str] | None = None) -> int:
    """Run *request* to its end and return the exit code. Raises nothing that is the run's own."""
    run_id = request.run_id
    try:
        settings = read_settings(variables)
        _log_to_stderr(settings)
        opened = _open(request, settings)
        run_id = opened.run_id
        return _claim_and_run(opened, settings)
    except CablewayError as error:
        return _not_run(run_id, error, debug=log.isEnabledFor(logging.DEBUG))


def _open(request: JobRequest, settings: Settings) -> Opened:
    if request.file is not None:
        return _open_file(request, settings)
    from cableway.store.postgres import PostgresRunStore

    database = settings.state_database
    run_id = request.run_id
    if run_id is None:
        run_id = _record(request, settings)
    store = PostgresRunStore(database)
    return Opened(store, lambda: PostgresRunStore(database, patience_s=0), run_id)


def _record(request: JobRequest, settings: Settings) -> str:
    from cableway.runs import RunRequest, record_run
    from cableway.store.connect import connect
    from cableway.store.executor import Executor

    if request.pipeline is None:
        raise SettingsError("which run? Give a run id, or the name of a pipeline")
    database = settings.state_database
    with connect(database) as connection:
        wanted = RunRequest(pipeline=request.pipeline, texts=request.parameters, key=request.key)
        return record_run(Executor(connection, database), wanted).run_id


def _open_file(request: JobRequest, settings: Settings) -> Opened:
    from cableway.checks import check_document, read_document
    from cableway.parameters import parameters_from_text
    from cableway.store.memory import MemoryRunStore

    definition = check_document(read_document(str(request.file)), catalog=Catalog(settings.blocs))
    store = MemoryRunStore()
    parameters = parameters_from_text(definition.parameters, request.parameters)
    run_id = store.add_run(definition, parameters, key=request.key)
    return Opened(store, lambda: store, run_id)


def _claim_and_run(opened: Opened, settings: Settings) -> int:
    asked_at = time.monotonic()
    claim = opened.store.claim(opened.run_id)
    if isinstance(claim, Held):
        log.info("run %s is held by another attempt; waiting %.0f s", opened.run_id, claim.expires_in_s)
        threading.Event().wait(claim.expires_in_s + 1)
        asked_at = time.monotonic()
        claim = opened.store.claim(opened.run_id)
    match claim:
        case Claimed():
            return _Job(opened, claim, settings, asked_at).run()
        case Held():
            return _nothing_to_do(opened.run_id, RunState.RUNNING, "held")
        case Ended():
            return _nothing_to_do(opened.run_id, claim.state, "ended")


class _Job:
    """A claimed run on its way to its record."""

    def __init__(self, opened: Opened, claim: Claimed, settings: Settings, asked_at: float) -> None:
        self._opened = opened
        self._lease: Lease = claim.lease
        self._run: RunRecord = claim.run
        self._settings = settings
        self._asked_at = asked_at
        self._facts = _facts(claim.run, claim.lease)
        self._assembly: Assembly | None = None
        self._attempt: Attempt | None = None
        self._telemetry = RunTelemetry(
            TelemetrySettings.from_environ(environment()),
            self._facts,
            traceparent=claim.run.traceparent,
            tracestate=claim.run.tracestate,
            trace_id=claim.run.trace_id,
        )

    def run(self) -> int:
        """Work, record, say how it ended; the exit code."""
        result = self._result(self._worked())
        code = self._record(result)
        say(final_line(self._run.run_id, self._lease.attempt, replace(result, exit_code=code)))
        _leave_if_abandoned(self._attempt, code)
        return code

    def _worked(self) -> Worked:
        try:
            self._assembly = assembly = self._assemble()
            letters = DeadLetterBox(self._telemetry.span_context)
            attempt = Attempt(
                assembly,
                self._opened.store,
                self._lease,
                letters,
                self._telemetry.observers,
                watch=partial(Progress, interval_s=self._settings.progress_s),
            )
            self._attempt = attempt
            heartbeat = Heartbeat(
                self._opened.another, self._lease, attempt.lease_lost, attempt.cancel, taken_at=self._asked_at
            )
            heartbeat.start()
            try:
                return asyncio.run(attempt.work())
            finally:
                heartbeat.stop()
        except CablewayError as error:
            log.debug("the run failed", exc_info=True)
            return Worked({}, error)
        except Exception as error:
            log.exception("an error that nobody foresaw ended the run")
            return Worked({}, error)

    def _assemble(self) -> Assembly:
        catalog = Catalog(self._settings.blocs)
        definition, resolved = with_parameters(_definition(self._run, catalog), self._run.parameters)
        resources = Resources(database=self._settings.database)
        blocs: dict[str, Bloc] = {}
        for stage in definition.stages:
            for bloc in stage.blocs:
                blocs[bloc.name] = built = catalog.build(bloc, checked=bloc.name not in resolved)
                built.bind(resources)
        return Assembly(definition, blocs, self._facts)

    def _result(self, worked: Worked) -> RunResult:
        error, assembly, attempt = worked.error, self._assembly, self._attempt
        if error is not None:
            log.error("%s", problem_of(error)["detail"])
        rows_in, rows_out = assembly.rows_in_and_out() if assembly else (0, 0)
        return RunResult(
            state=state_of(error, worked.counts.get("failed", 0) + worked.counts.get("lost", 0)),
            exit_code=exit_code_of(error),
            counts=worked.counts,
            rows_in=rows_in,
            rows_out=rows_out,
            stages=assembly.stage_records(attempt.pipeline) if assembly and attempt else [],
            problem=problem_of(error) if error is not None else None,
            trace_id=self._telemetry.trace_id,
            outputs=assembly.outputs() if assembly and error is None else {},
        )

    def _record(self, result: RunResult) -> int:
        spans = self._telemetry.end(
            result.state, result.exit_code, counts=result.counts, problem=result.problem, stages=result.stages
        )
        exported = self._telemetry.flush()
        if isinstance(self._attempt, Attempt) and self._attempt.lost:
            return EXIT_LEASE_LOST
        try:
            if spans:
                self._opened.store.add_spans(self._lease, spans)
            dropped = exported.dropped if exported is not None else 0
            self._opened.store.finish(self._lease, replace(result, spans_dropped=dropped))
        except CablewayError as error:
            sys.stderr.write(f"cableway: the outcome could not be recorded: {error}\n")
            return EXIT_LEASE_LOST
        finally:
            self._opened.store.close()
        return result.exit_code


def _definition(run: RunRecord, catalog: Catalog) -> PipelineDefinition:
    """The run's version as it was saved; checked again where it was checked by another version of Cableway."""
    if run.document_format == DOCUMENT_FORMAT:
        return PipelineDefinition.restore(run.document)
    from cableway.checks import check_document

    return check_document(run.document, catalog=catalog)


def _facts(run: RunRecord, lease: Lease) -> RunFacts:
    return RunFacts(
        run_id=run.run_id,
        pipeline=run.pipeline,
        version=run.version,
        line=run.line,
        attempt=lease.attempt,
        lease_token=lease.token,
        parameters=run.parameters,
        scheduler_name=run.scheduler_name,
        trigger_name=run.trigger_name,
        scheduled_at=run.scheduled_at,
    )


def _nothing_to_do(run_id: str, state: RunState, reason: str) -> int:
    result = RunResult(state=state, exit_code=EXIT_OK, counts={})
    log.info("run %s: nothing to do, it is %s", run_id, state if reason == "ended" else "another attempt's")
    say(final_line(run_id, 0, result))
    return EXIT_OK


def _not_run(run_id: str | None, error: CablewayError, *, debug: bool) -> int:
    if debug:
        log.debug("not run", exc_info=error)
    sys.stderr.write(f"cableway: {error}\n")
    for fault in error.faults:
        if fault.message not in str(error):
            sys.stderr.write(f"  {fault.pointer}: {fault.message}\n")
    result = RunResult(state=state_of(error, 0), exit_code=exit_code_of(error), counts={}, problem=problem_of(error))
    say(final_line(run_id, 0, result))
    return result.exit_code


def _leave_if_abandoned(attempt: Attempt | None, code: int) -> None:
    """A handler that cannot be stopped must not keep a finished process alive."""
    if attempt is not None and attempt.abandoned:
        sys.stderr.flush()
        os._exit(code)


def _log_to_stderr(settings: Settings) -> None:
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name, level in settings.log_levels.items():
        logging.getLogger(name).setLevel(level)
