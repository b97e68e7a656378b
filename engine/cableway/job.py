"""
The composition root: claim a run, build what its version names, let it run, record what came of it.

This is the one module that knows concrete stores, catalogs and telemetry. What a container does is `run_job`; it
returns the exit code and has printed one JSON object as its last line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from cableway import failpoints
from cableway.blocs.kinds import Bloc, Resources
from cableway.catalog import Catalog
from cableway.context import RunFacts
from cableway.definition import DOCUMENT_FORMAT, BlocDefinition, JsonObject, PipelineDefinition
from cableway.errors import (
    EXIT_LEASE_LOST,
    EXIT_OK,
    CablewayError,
    LeaseLostError,
    RecordError,
    RunCancelledError,
    UnavailableError,
)
from cableway.logs import name_the_run, set_up_logging
from cableway.progress import Progress
from cableway.redaction import names_in, redacted, redacted_json
from cableway.references import with_references
from cableway.running.assembly import Assembly
from cableway.running.attempt import Attempt, Worked
from cableway.running.exactness import Exactness
from cableway.running.last_word import LastWord
from cableway.running.line import Line
from cableway.running.opening import JobRequest, Opened, claim_run, open_run
from cableway.running.output_folder import make_output_folder
from cableway.running.readers import Readers
from cableway.running.report import complain, exit_code_of, final_line, is_partial, lack_of, problem_of, say, state_of
from cableway.running.stopping import Signals, Stop
from cableway.running.telling import complain_of, not_run, nothing_to_do
from cableway.running.threads import run_to_end
from cableway.running.upkeep import part_place, place_of, take_line
from cableway.secret_sources import SecretSources
from cableway.settings import Settings, environment, read_settings
from cableway.store.heartbeat import Heartbeat
from cableway.store.port import Claimed, Ended, Full, Held, RunRecord, RunResult, RunState, SpanRow
from cableway.telemetry.run import RunTelemetry
from cableway.telemetry.settings import TelemetrySettings

if TYPE_CHECKING:
    from cableway.running.payload_folder import PayloadFolder
    from cableway.running.replaying import Replaying
    from cableway.running.shared_limits import SharedLimits

__all__ = ["JobRequest", "run_job"]

RETRY_S = 0.5
"""Seconds before an outcome that could not be recorded is tried again."""
FLUSH_AT_LEAST_S = 0.3
"""Seconds that telemetry gets at the end, though the grace is over."""

log = logging.getLogger("cableway.job")


def run_job(request: JobRequest, variables: Mapping[str, str] | None = None, *, signals: Signals | None = None) -> int:
    """Run *request* to its end and return the exit code. Raises nothing that is the run's own.

    *variables* take the place of the environment. *signals*, if they were installed, end the process before
    there is a run, and from then on drain it.
    """
    run_id, tell = request.run_id, say
    variables = environment() if variables is None else variables
    try:
        settings = read_settings(variables)
        tell = partial(say, message_file=settings.termination_log)
        failpoints.arm(variables)
        set_up_logging(settings)
        opened = open_run(request, settings)
        run_id = opened.run_id
        try:
            return run_opened(opened, settings, variables, signals=signals, tell=tell)
        finally:
            opened.store.close()
    except Exception as error:  # noqa: BLE001 - the process's boundary
        return not_run(run_id, lack_of(error) or error, tell)


def run_opened(
    opened: Opened,
    settings: Settings,
    variables: Mapping[str, str],
    *,
    signals: Signals | None = None,
    wait: Callable[[float], object] = time.sleep,
    tell: Callable[[str], object] = say,
) -> int:
    """Claim the run and run it; where another attempt holds it, *wait* for one lease and look again.

    Where others of its pipeline have all places it is asked for during a minute, and then left to a sweep.

    *tell* is given the last line.
    """
    stop = Stop()
    asked_at, claim = claim_run(opened, settings.execution, wait, signals or Signals(), stop)
    match claim:
        case Claimed():
            last_word = LastWord(stop, claim.lease, opened.another, tell)
            if signals is not None:  # then the process is ours to end
                last_word.start()
            return _Job(opened, claim, settings, variables, stop, last_word).run(asked_at, tell)
        case Held():
            return nothing_to_do(opened.run_id, RunState.RUNNING, "another attempt holds it", tell)
        case Full():
            opened.store.hand_back(opened.run_id)
            why = "others of its pipeline are at work, and it waits for its turn"
            return nothing_to_do(opened.run_id, RunState.QUEUED, why, tell)
        case Ended():
            return nothing_to_do(opened.run_id, claim.state, "it has ended", tell)


class _Job:
    """A claimed run on its way to its record."""

    def __init__(
        self,
        opened: Opened,
        claim: Claimed,
        settings: Settings,
        variables: Mapping[str, str],
        stop: Stop,
        last_word: LastWord,
    ) -> None:
        self._opened = opened
        self._last_word = last_word
        self._lease = claim.lease
        self._run = claim.run
        self._settings = settings
        self._variables = variables
        self._stop = stop
        self._facts = _facts(claim)
        self._line: Line | None = None
        self._taken_up = claim.lease.attempt > 1 or bool(claim.run.cursor) or claim.run.replay is not None
        self._payloads = _payload_folder(settings)
        self._assembly: Assembly | None = None
        self._attempt: Attempt | None = None
        self._telemetry = RunTelemetry(
            TelemetrySettings.from_environ(variables),
            self._facts,
            traceparent=claim.run.traceparent,
            tracestate=claim.run.tracestate,
            trace_id=claim.run.trace_id,
            redact=redacted,
        )

    def run(self, asked_at: float, tell: Callable[[str], object]) -> int:
        """Work, record, *tell* how it ended; the exit code. *asked_at* is when the lease was asked for."""
        self._last_word.trace_id = self._telemetry.trace_id
        name_the_run(self._run.run_id, self._telemetry.trace_id, self._telemetry.span_id)
        if self._run.state is RunState.CANCELLING:
            self._cancel()
        heartbeat = Heartbeat(self._opened.another, self._lease, self._lost, self._cancel, taken_at=asked_at)
        heartbeat.start()
        try:
            worked = self._worked()
        finally:
            heartbeat.stop()
        if isinstance(worked.error, CablewayError) and not isinstance(worked.error, LeaseLostError):
            complain_of(worked.error)  # of a lost lease the heartbeat has spoken
        result = self._recorded(self._result(worked), lost=isinstance(worked.error, LeaseLostError))
        self._last_word.call_off()
        tell(final_line(self._run.run_id, self._lease.attempt, result))
        partial = self._opened.partial_ok and is_partial(result.problem, result.profile)
        return EXIT_OK if partial else result.exit_code

    def _lost(self) -> None:
        self._stop.ask(LeaseLostError("the lease could not be renewed in time"))

    def _cancel(self) -> None:
        self._stop.ask(RunCancelledError("the run was cancelled"))

    def _worked(self) -> Worked:
        try:
            self._assembly = assembly = self._assemble()
            self._attempt = attempt = Attempt(
                assembly,
                self._opened.store,
                self._lease,
                self._stop,
                observers=self._telemetry.observers,
                span_context=self._telemetry.span_context,
                time_left_s=self._run.time_left_s,
                watch=partial(Progress, interval_s=self._settings.progress_s),
                line=self._line,
                taken_up=self._taken_up,
                checkpoint_s=self._settings.checkpoint_s,
                payloads=self._payloads,
            )
            worked = run_to_end(attempt.work())
            error = worked.error
        except CablewayError as early:
            worked, error = Worked({}, early), early
        except Exception as early:  # noqa: BLE001 - whatever it is becomes the run's recorded outcome
            error = lack_of(early) or early
            worked = Worked({}, error)
        if error is not None and not isinstance(error, CablewayError):
            log.error("an error that nobody foresaw ended the run", exc_info=error)
        return worked

    def _assemble(self) -> Assembly:
        catalog = Catalog(self._settings.blocs)
        definition, resolved = with_references(_definition(self._run, catalog), self._run.parameters, self._variables)
        secrets = self._secrets(definition)
        if self._settings.pipelines_logs_dir is not None:
            folder = make_output_folder(self._settings.pipelines_logs_dir, self._facts, definition.settings.output_dir)
            self._facts = replace(self._facts, output_dir=folder)
        resources = Resources(database=self._settings.database, root=self._settings.file_root, http=self._settings.http)

        def build(bloc: BlocDefinition) -> Bloc:
            return catalog.build(bloc, checked=bloc.name not in resolved, secrets=secrets)

        replaying = self._replayed()
        if replaying is not None:
            definition, blocs = replaying.built(definition, build, catalog)
        elif self._opened.excerpt is None:
            blocs = {bloc.name: build(bloc) for stage in definition.stages for bloc in stage.blocs}
        else:
            definition, blocs = self._opened.excerpt.built(definition, build)
        exactness = Exactness.of(definition, blocs, part=self._run.part is not None)
        self._take_line(exactness)
        part = part_place(exactness, self._run, self._opened.store, self._lease)
        readers = Readers.of(definition, blocs)
        for name, bloc in blocs.items():
            place = place_of(bloc, exactness, self._line, self._ending, part)
            place = place if replaying is None else replaying.place(place)
            bloc.bind(replace(resources, place=place, as_csv=readers.take_csv(name, definition, blocs)))
        return Assembly(
            definition,
            blocs,
            self._facts,
            secrets=secrets,
            exactness=exactness,
            taken_up=self._taken_up,
            limits=self._shared_limits(definition),
            replay=self._run.replay,
            given_by=None if replaying is None else replaying.source,
        )

    def _replayed(self) -> Replaying | None:
        if self._run.replay is None:
            return None
        from cableway.running.replaying import Replaying  # few runs are one

        store, another = self._opened.store, self._opened.another
        return Replaying.of(self._run, store, another, self._lease, self._payloads)

    def _shared_limits(self, definition: PipelineDefinition) -> SharedLimits | None:
        if not any(stage.limits for stage in definition.stages):
            return None
        from cableway.running.shared_limits import SharedLimits  # few pipelines have any

        limits = SharedLimits(self._opened.another, self._lease)
        for stage in definition.stages:
            limits.turnstiles(stage.limits)
        limits.check()
        return limits

    def _take_line(self, exactness: Exactness) -> None:
        line, self._line = take_line(exactness, self._opened.store, self._lease, self._run, self._stop)
        self._facts = replace(self._facts, line=line)
        self._taken_up = self._taken_up or (self._line is not None and self._line.begun)

    def _ending(self) -> str:
        return "" if self._attempt is None else self._attempt.ending()

    def _secrets(self, definition: PipelineDefinition) -> dict[str, str]:
        names = [name for stage in definition.stages for bloc in stage.blocs for name in names_in(bloc.config)]
        return SecretSources(self._settings.secrets, self._variables).values(names) if names else {}

    def _result(self, worked: Worked) -> RunResult:
        error, assembly, attempt = worked.error, self._assembly, self._attempt
        rows_in, rows_out = assembly.rows_in_and_out(committed=worked.committed) if assembly else (0, 0)
        if self._line is not None:  # what the attempts have done with which this one went on
            rows_in, rows_out = rows_in + self._line.rows[0], rows_out + self._line.rows[1]
        return RunResult(
            state=state_of(error, worked.counts.get("failed", 0) + worked.counts.get("lost", 0)),
            exit_code=exit_code_of(error),
            counts=worked.counts,
            rows_in=rows_in,
            rows_out=rows_out,
            stages=assembly.stage_records(attempt.pipeline) if assembly and attempt else [],
            problem=problem_of(error) if error is not None else None,
            trace_id=self._telemetry.trace_id,
            outputs=self._outputs(worked),
            profile=attempt.profile() if attempt else None,
        )

    def _outputs(self, worked: Worked) -> JsonObject:
        """What blocs say of theirs, exporters once it is kept, and the run's folder, where it has one."""
        kept = self._assembly.outputs(committed=worked.committed) if self._assembly is not None else {}
        folder = self._facts.output_dir
        return cast("JsonObject", redacted_json(kept if folder is None else {"output_dir": folder, **kept}))

    def _recorded(self, result: RunResult, *, lost: bool) -> RunResult:
        """*result* as it is once it is recorded; with the exit code that says so where it could not be."""
        spans = self._telemetry.end(
            result.state, result.exit_code, counts=result.counts, problem=result.problem, stages=result.stages
        )
        left_s = max(self._stop.until - time.monotonic(), FLUSH_AT_LEAST_S)
        exported = self._telemetry.flush(left_s)
        result = replace(result, spans_dropped=exported.dropped if exported is not None else 0)
        if lost:
            return result
        try:
            until = min(self._stop.until, time.monotonic() + self._stop.grace_s)
            self._last_word.recording(result, until)
            if spans:
                self._keep_spans(spans)
            failpoints.reach("before_finish")
            self._finish(result, until)
            failpoints.reach("after_finish")
        except Exception as error:
            log.debug("not recorded", exc_info=True)
            unrecorded = RecordError(f"the outcome ({result.state}) could not be recorded: {error}")
            complain(str(unrecorded))
            return replace(result, exit_code=EXIT_LEASE_LOST, problem=result.problem or unrecorded.problem())
        return result

    def _finish(self, result: RunResult, until: float) -> None:
        """Record *result*; while the database is away, try again for as long as the grace lasts."""
        while True:
            try:
                return self._opened.store.finish(self._lease, result)
            except UnavailableError:
                if time.monotonic() + RETRY_S >= until:
                    raise
                time.sleep(RETRY_S)

    def _keep_spans(self, spans: Sequence[SpanRow]) -> None:
        try:
            self._opened.store.add_spans(self._lease, spans)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - telemetry never changes the outcome
            log.warning("the local copy of the spans could not be kept: %s", error)


def _definition(run: RunRecord, catalog: Catalog) -> PipelineDefinition:
    """The run's version as it was saved; checked again where it was checked by another version of Cableway."""
    if run.document_format == DOCUMENT_FORMAT:
        return PipelineDefinition.restore(run.document)
    from cableway.checks import check_document

    return check_document(run.document, catalog=catalog)


def _payload_folder(settings: Settings) -> PayloadFolder | None:
    if settings.payloads is None:
        return None
    from cableway.running.payload_folder import PayloadFolder

    return PayloadFolder(settings.payloads, settings.http)


def _facts(claim: Claimed) -> RunFacts:
    run = claim.run
    return RunFacts(
        run_id=run.run_id,
        pipeline=run.pipeline,
        version=run.version,
        line=run.line,
        attempt=claim.lease.attempt,
        lease_token=claim.lease.token,
        parameters=run.parameters,
        scheduler_name=run.scheduler_name,
        trigger_name=run.trigger_name,
        scheduled_at=run.scheduled_at,
    )
