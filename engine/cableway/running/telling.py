"""What a job says that has nothing to run, or that could not begin; and what it says of an error."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cableway.errors import EXIT_OK, CablewayError
from cableway.running.report import complain, exit_code_of, final_line, problem_of, state_of
from cableway.store.port import RunResult, RunState

log = logging.getLogger("cableway.job")


def nothing_to_do(run_id: str, state: RunState, why: str, tell: Callable[[str], object]) -> int:
    """Say *why* the run is left alone, which is no error; the exit code."""
    log.info("run %s: nothing to do, %s", run_id, why)
    tell(final_line(run_id, 0, RunResult(state=state, exit_code=EXIT_OK, counts={})))
    return EXIT_OK


def not_run(run_id: str | None, error: Exception, tell: Callable[[str], object]) -> int:
    """Say which *error* came before there was a run; its exit code."""
    if isinstance(error, CablewayError):
        complain_of(error)
    else:
        log.error("an error that nobody foresaw, before there was a run", exc_info=error)
    result = RunResult(state=state_of(error, 0), exit_code=exit_code_of(error), counts={}, problem=problem_of(error))
    tell(final_line(run_id, 0, result))
    return result.exit_code


def complain_of(error: CablewayError) -> None:
    """One message on stderr, its faults below it; where it came from only with ``LOG_LEVEL=DEBUG``."""
    log.debug("the error came from here", exc_info=error)
    told = str(error)
    faults = [f"\n  {fault.pointer or '/'}: {fault.message}" for fault in error.faults if fault.message not in told]
    complain(told + "".join(faults))
