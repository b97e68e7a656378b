"""How an attempt ends for the outside: the state, the exit code, and one JSON object as the last line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from cableway.errors import (
    EXIT_BUG,
    EXIT_OK,
    CablewayError,
    InterruptedRunError,
    RunCancelledError,
    RunTimeoutError,
)
from cableway.store.port import RunResult, RunState

FINAL_LINE_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""


def problem_of(error: BaseException) -> dict[str, object]:
    """*error* as a problem; an error that nobody foresaw is named by its type alone."""
    if isinstance(error, CablewayError):
        return error.problem()
    return {
        "type": "urn:cableway:error:bug",
        "title": CablewayError.title,
        "status": 500,
        "detail": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        "retryable": False,
    }


def state_of(error: BaseException | None, failed: int) -> RunState:
    """The state in which a run ends that met *error*, or none, with *failed* items within its limit."""
    match error:
        case None:
            return RunState.COMPLETED_WITH_ERRORS if failed else RunState.SUCCEEDED
        case RunCancelledError():
            return RunState.CANCELLED
        case RunTimeoutError():
            return RunState.TIMED_OUT
        case InterruptedRunError():
            return RunState.INTERRUPTED
        case _:
            return RunState.FAILED


def exit_code_of(error: BaseException | None) -> int:
    """The exit code that says how it went: 1 for an error that nobody foresaw."""
    if error is None:
        return EXIT_OK
    return error.exit_code if isinstance(error, CablewayError) else EXIT_BUG


def final_line(run_id: str | None, attempt: int, result: RunResult) -> str:
    """The last line on stdout, at most `FINAL_LINE_LIMIT` bytes long."""
    body: dict[str, Any] = {
        "event": "run.finished",
        "run_id": run_id,
        "attempt": attempt,
        "state": str(result.state),
        "exit_code": result.exit_code,
        "reason": _reason(result.problem),
        "counts": dict(result.counts),
        "rows": {"in": result.rows_in, "out": result.rows_out},
        "spans_dropped": result.spans_dropped,
        "trace_id": result.trace_id,
        "error": result.problem,
    }
    line = json.dumps(body)
    if len(line) >= FINAL_LINE_LIMIT and result.problem is not None:
        detail = str(result.problem.get("detail", ""))[:1000]
        body["error"] = {**{k: v for k, v in result.problem.items() if k != "errors"}, "detail": detail}
        line = json.dumps(body)
    return line


def _reason(problem: Mapping[str, Any] | None) -> str | None:
    return None if problem is None else str(problem.get("type", "")).rpartition(":")[2]


def say(line: str) -> None:
    """Print *line* on stdout; a stdout that is closed or full of nobody reading is not an error."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        return
