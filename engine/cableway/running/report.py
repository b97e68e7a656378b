"""How an attempt ends for the outside: the state, the exit code, and one JSON object as the last line."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, cast

from cableway.errors import (
    EXIT_BUG,
    EXIT_OK,
    CablewayError,
    InterruptedRunError,
    ItemError,
    ItemsFailedError,
    LeaseLostError,
    OverlapError,
    ResourceError,
    RunCancelledError,
    RunTimeoutError,
)
from cableway.redaction import redacted, redacted_json
from cableway.standard_streams import write_out
from cableway.store.port import RunResult, RunState

FINAL_LINE_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""
TERMINATION_LOG = "/dev/termination-log"
"""Where Kubernetes looks for that message; written only where it is mounted."""

_OUT_OF_RESOURCES = frozenset({errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EDQUOT, errno.EAGAIN})
_LACKS = tuple(map(os.strerror, (errno.EMFILE, errno.ENFILE, errno.ENOMEM)))
_CAUSES = 8
_NO_THREAD = "can't start new thread"
# What these say names columns, modules and files; what others say may quote the data.
_NAMING = frozenset(
    {
        "AttributeError",
        "FileNotFoundError",
        "ImportError",
        "IsADirectoryError",
        "KeyError",
        "MissingDataError",
        "ModuleNotFoundError",
        "NameError",
        "NotADirectoryError",
        "PermissionError",
        "UnboundLocalError",
    }
)


def problem_of(error: BaseException) -> dict[str, object]:
    """*error* as a problem, without secrets; an error that nobody foresaw is named by its type alone."""
    if isinstance(error, CablewayError):
        return cast("dict[str, object]", redacted_json(error.problem()))
    return {
        "type": "urn:cableway:error:bug",
        "title": CablewayError.title,
        "status": 500,
        "detail": f"an error that nobody foresaw: {type(error).__name__}; the log has its traceback",
        "retryable": False,
    }


def words_of(error: BaseException) -> str:
    """*error* of a handler, so that no value of its data is told: Cableway's own words, else the type.

    What names a column, a module or a file is told in full.
    """
    if isinstance(error, ItemError) and error.item_code == "handler":
        kind = error.error_type or "handler"
    elif isinstance(error, CablewayError):
        return redacted(str(error))
    else:
        kind = type(error).__name__
    text = redacted(" ".join(str(error).split()))
    return f"{kind}: {text[:300]}" if kind in _NAMING and text else f"{kind} (its dead letter has the message)"


def full_words_of(error: BaseException) -> str:
    """*error* with all that it says, where no data can be in it."""
    text = redacted(" ".join(str(error).split()))
    if isinstance(error, CablewayError):
        return text
    return f"{type(error).__name__}: {text[:1000]}" if text else type(error).__name__


def lack_of(error: BaseException) -> ResourceError | None:
    """*error* as the want of disk, handles or processes that it is, or None where it is something else."""
    if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
        where = f": {error.filename}" if error.filename else ""
        return ResourceError(f"{os.strerror(error.errno)}{where}")
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return ResourceError(f"{_NO_THREAD}: the limit of processes, or of memory, is reached")
    return _unloadable(error) if isinstance(error, ImportError) else None


def lack_of_unit(error: Exception) -> ResourceError | None:
    """As `lack_of`, of an error that a bloc raised; not for what only has to wait, as a socket may."""
    return None if isinstance(error, BlockingIOError) else lack_of(error)


def _unloadable(error: ImportError) -> ResourceError | None:
    """The lack for which a library could not be loaded: the loader of shared objects tells it in words alone."""
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if isinstance(cause, OSError):
            return lack_of(cause)
        if not isinstance(cause, ImportError):
            return None
        if (why := next((words for words in _LACKS if words in str(cause)), None)) is not None:
            return ResourceError(f"{why}: {error.name or 'a library'} could not be loaded")
        cause = cause.__cause__ or cause.__context__
    return None


def state_of(error: BaseException | None, failed: int) -> RunState:
    """The state in which a run ends that met *error*, or none, with *failed* items within its limit."""
    match error:
        case None:
            return RunState.COMPLETED_WITH_ERRORS if failed else RunState.SUCCEEDED
        case RunCancelledError() | OverlapError():
            return RunState.CANCELLED
        case RunTimeoutError():
            return RunState.TIMED_OUT
        case InterruptedRunError():
            return RunState.INTERRUPTED
        case LeaseLostError():
            return RunState.CRASHED
        case _:
            return RunState.FAILED


def exit_code_of(error: BaseException | None) -> int:
    """The exit code that says how it went: 1 for an error that nobody foresaw."""
    if error is None:
        return EXIT_OK
    return error.exit_code if isinstance(error, CablewayError) else EXIT_BUG


def is_partial(problem: Mapping[str, Any] | None, profile: Mapping[str, Any] | None) -> bool:
    """Whether an attempt failed of nothing but failed items, while others went through the last stage."""
    stages: list[Any] = profile["stages"] if profile else []
    # The outcomes do not say it: what became part of a batch has succeeded, though the batch fails.
    return _reason(problem) == ItemsFailedError.code and bool(stages) and stages[-1]["given"] > 0


def final_line(run_id: str | None, attempt: int, result: RunResult) -> str:
    """The last line on stdout: ASCII, and shorter than `FINAL_LINE_LIMIT` bytes."""
    body: dict[str, Any] = {
        "event": "run.finished",
        "run_id": run_id if run_id is None else run_id[:80],
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
    line = json.dumps(body, default=str)
    if len(line) < FINAL_LINE_LIMIT or result.problem is None:
        return line
    # All faults stand in the run's row; here the message matters most, as much of it as there is room for.
    detail = str(result.problem.get("detail", ""))
    body["error"] = short = {key: value for key, value in result.problem.items() if key != "errors"}
    while len(line := json.dumps(body, default=str)) >= FINAL_LINE_LIMIT and detail:
        detail = detail[: len(detail) * 3 // 4]
        short["detail"] = f"{detail}..."
    return line


def _reason(problem: Mapping[str, Any] | None) -> str | None:
    return None if problem is None else str(problem.get("type", "")).rpartition(":")[2]


def say(line: str, message_file: str = TERMINATION_LOG) -> None:
    """Print *line* on stdout, and leave it in *message_file* where there is one. Nobody has to read what is printed."""
    _leave_message(line, message_file)
    write_out(sys.stdout, f"{line}\n")


def complain(message: str) -> None:
    """Write *message* on stderr, if anybody listens there."""
    write_out(sys.stderr, f"cableway: {redacted(message)}\n")


def _leave_message(line: str, path: str) -> None:
    try:
        # Never created: where it is not mounted nobody looks.
        handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        with os.fdopen(handle, "wb") as file:
            file.write(line.encode())
    except OSError:
        return
