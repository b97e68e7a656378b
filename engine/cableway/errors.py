"""
Every error that Cableway raises on purpose.

CablewayError                   base; caught at the process boundary only               exit 1
  UsageError                    the command line is wrong                               exit 2
  RunFailedError                the run failed, and that is recorded                    exit 3
    SourceError                 the source raised or cannot be read
      SourceChangedError        the source is not what it was when it was read before
    SinkError                   an exporter could not write
      SinkLostError             what it held for the whole run is gone
      FinalizeError             a bloc could not finish after the last item; what it held is not kept
    ItemsFailedError            more items failed than `max_errors` allows
    AccountingError             emitted items and ended items differ: a bug, never hidden
    WorkersLostError            a pool's workers died more often than it may be rebuilt
    GatherTooLargeError         what a gather holds is over its byte limit
    RunCancelledError           somebody cancelled the run
    HttpError                   a request over HTTP failed
      AddressRefusedError       it would have gone where no bloc may send requests
    ObjectStoreError            an object store such as S3 refused, or did not answer
  UnavailableError              a dependency was not there before the start             exit 69
  ResourceError                 disk full, read-only, or out of handles                 exit 74
  LeaseLostError                another attempt holds the run, or may hold it           exit 75
  RecordError                   the outcome could not be recorded                       exit 75
  CrashedError                  an attempt ended without a word                         (of a run, never raised)
  CredentialsError              a server refused who we are                             exit 77
  DefinitionError               definition, parameters or settings are invalid          exit 78
    SettingsError               an environment variable is missing or wrong
    UnknownPipelineError        no pipeline of this name
    UnknownNameError            no bloc, trigger or scheduler of this name
    UnknownRunError             no run with this id
    NotExplainedError           no attempt of the run has left times yet
    TakenError                  the name is another's, or what it names is still in use
    ConflictError               somebody has changed it in between
    ParameterError              the run's parameters do not fit
    SchemaVersionError          the database's schema is not this version's
  OverlapError                  the pipeline runs already, and its policy wants no further run now     exit 0
  RunTimeoutError               the run took longer than it may                         exit 124
  InterruptedRunError           stopped by a signal, drained                            exit 143
  ItemError                     one unit failed in a way the flow itself detected       (the item's, never the run's)
  RowError                      a row does not fit where it is to go                    (the item's, never the run's)
    BadRowError                 a row of a source cannot be read, and its loader goes on without it

``exit_code`` is what the container's process returns; ``retry`` says whether the same
container started again could end otherwise. `problem` is the one form of an error that
is stored, printed and sent (RFC 9457); it never holds input values or a traceback.

Above 400 lines, so that the whole tree stands in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_RUN_FAILED = 3
EXIT_UNAVAILABLE = 69
EXIT_RESOURCE = 74
EXIT_LEASE_LOST = 75
EXIT_CREDENTIALS = 77
EXIT_INVALID = 78
EXIT_TIMEOUT = 124
EXIT_INTERRUPTED = 143

Retry = Literal["never", "yes", "count", "policy"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a document: where (a JSON pointer), which kind, and what to do."""

    pointer: str
    code: str
    message: str
    line: int | None = None
    """The line of the file in which it stands, where it came from one that tells lines."""

    def as_dict(self) -> dict[str, str | int]:
        """The fault as it stands in a problem's ``errors``."""
        place: dict[str, str | int] = {} if self.line is None else {"line": self.line}
        return {"pointer": self.pointer, "code": self.code, "message": self.message, **place}


class CablewayError(Exception):
    """Base of every deliberate error."""

    code: ClassVar[str] = "bug"
    title: ClassVar[str] = "Something went wrong that should not have"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = EXIT_BUG
    retry: ClassVar[Retry] = "count"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong, place by place; empty for most errors."""
        return ()

    def problem(self) -> dict[str, object]:
        """This error as an RFC 9457 problem: no input values, no traceback."""
        body: dict[str, object] = {
            "type": f"urn:cableway:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            "retryable": self.retry in {"yes", "policy"},
        }
        if self.faults:
            body["errors"] = [fault.as_dict() for fault in self.faults]
        return body


class UsageError(CablewayError):
    """The command line is wrong."""

    code = "usage"
    title = "Wrong command line"
    status = 400
    exit_code = EXIT_USAGE
    retry = "never"


class RunFailedError(CablewayError):
    """The run failed, and that is recorded."""

    code = "run_failed"
    title = "The run failed"
    exit_code = EXIT_RUN_FAILED
    retry: ClassVar[Retry] = "never"


class SourceError(RunFailedError):
    """The source raised, or cannot be read; what it gave before has drained."""

    code = "source_error"
    title = "The source failed"
    retry: ClassVar[Retry] = "policy"


class SourceChangedError(SourceError):
    """The source is not what it was when it was read before, so its positions mean nothing any more."""

    code = "source_changed"
    title = "The source has changed"
    retry = "never"


class SinkError(RunFailedError):
    """An exporter could not write."""

    code = "sink_error"
    title = "An exporter failed"
    retry = "policy"


class SinkLostError(SinkError):
    """What an exporter held for the whole run is gone, so that no later item can be kept: the attempt ends."""

    code = "sink_lost"
    title = "An exporter lost what it held"


class FinalizeError(SinkError):
    """A bloc could not finish after the last item, so what it held until then is not kept."""

    code = "finalize"
    title = "A bloc could not finish"


class ItemsFailedError(RunFailedError):
    """More items failed than `max_errors` allows."""

    code = "items_failed"
    title = "Too many items failed"


class AccountingError(RunFailedError):
    """Emitted items and ended items differ, so something was lost or counted twice."""

    code = "accounting"
    title = "The items do not add up"


class WorkersLostError(RunFailedError):
    """A pool's workers died more often than the pool may be rebuilt."""

    code = "workers_lost"
    title = "Workers died too often"
    retry = "policy"


class GatherTooLargeError(RunFailedError):
    """What a gather holds is over its byte limit."""

    code = "gather_too_large"
    title = "A gather holds too much"


class RunCancelledError(RunFailedError):
    """Somebody cancelled the run."""

    code = "cancelled"
    title = "The run was cancelled"


HttpReason = Literal[
    "address",
    "connect",
    "timeout",
    "status",
    "redirect",
    "too_large",
    "length",
    "encoding",
    "content",
    "loop",
]


class HttpError(RunFailedError):
    """A request over HTTP failed for good: ``place`` is where, ``reason`` the kind of failure.

    ``http_status`` is the last answer's, where there was one, and ``retry_after_s`` the seconds that it asked to wait.
    """

    code = "http_error"
    title = "A request failed"
    status = 502

    def __init__(
        self,
        message: str,
        *,
        place: str,
        reason: HttpReason,
        http_status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{place}: {message}")
        self.message = message
        self.place = place
        self.reason: HttpReason = reason
        self.http_status = http_status
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return _http_error, (type(self), self.message, self.place, self.reason, self.http_status, self.retry_after_s)


def _http_error(
    kind: type[HttpError],
    message: str,
    place: str,
    reason: HttpReason,
    http_status: int | None,
    retry_after_s: float | None,
) -> HttpError:
    return kind(message, place=place, reason=reason, http_status=http_status, retry_after_s=retry_after_s)


class AddressRefusedError(HttpError):
    """The request would have gone where no bloc may send one; nothing was sent."""

    code = "address_refused"
    title = "No request may go to this address"


ObjectStoreReason = Literal["denied", "missing", "throttled", "truncated", "clock", "unavailable", "refused"]


class ObjectStoreError(RunFailedError):
    """An object store refused or did not answer: ``place`` is the object, ``reason`` the kind of failure."""

    code = "object_store"
    title = "The object store failed"
    status = 502

    def __init__(self, message: str, *, place: str, reason: ObjectStoreReason) -> None:
        super().__init__(f"{place}: {message}")
        self.message = message
        self.place = place
        self.reason: ObjectStoreReason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return _object_store_error, (self.message, self.place, self.reason)


def _object_store_error(message: str, place: str, reason: ObjectStoreReason) -> ObjectStoreError:
    return ObjectStoreError(message, place=place, reason=reason)


class UnavailableError(CablewayError):
    """A dependency was not there before the start; nothing was done."""

    code = "unavailable"
    title = "A dependency is not there"
    status = 503
    exit_code = EXIT_UNAVAILABLE
    retry = "yes"


class ResourceError(CablewayError):
    """The disk is full or read-only, or handles ran out."""

    code = "resource"
    title = "Out of disk, memory or handles"
    exit_code = EXIT_RESOURCE
    retry = "yes"


class LeaseLostError(CablewayError):
    """Another attempt holds the run, or may hold it by now; this one has stopped writing."""

    code = "lease_lost"
    title = "The lease was lost"
    status = 409
    exit_code = EXIT_LEASE_LOST
    retry = "yes"


class RecordError(CablewayError):
    """The outcome could not be recorded."""

    code = "not_recorded"
    title = "The outcome could not be recorded"
    status = 503
    exit_code = EXIT_LEASE_LOST
    retry = "yes"


class CrashedError(CablewayError):
    """An attempt ended without a word: its lease ran out. What others write of a run, and nobody raises."""

    code = "crashed"
    title = "The attempt ended without a word"
    exit_code = EXIT_LEASE_LOST
    retry = "yes"


class CredentialsError(CablewayError):
    """A server refused who we are; trying again cannot help."""

    code = "credentials"
    title = "Credentials were refused"
    status = 401
    exit_code = EXIT_CREDENTIALS
    retry = "never"


class DefinitionError(CablewayError):
    """A definition, its parameters or the settings are invalid; every fault is listed."""

    code = "invalid"
    title = "The definition is invalid"
    status = 422
    exit_code = EXIT_INVALID
    retry = "never"

    def __init__(self, message: str, faults: Iterable[Fault] = ()) -> None:
        super().__init__(message)
        self._faults = tuple(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong, place by place."""
        return self._faults


class SettingsError(DefinitionError):
    """An environment variable is missing or wrong."""

    code = "settings"
    title = "A setting is missing or wrong"


class UnknownPipelineError(DefinitionError):
    """No pipeline of this name."""

    code = "unknown_pipeline"
    title = "No such pipeline"
    status = 404


class UnknownNameError(DefinitionError):
    """No bloc, trigger or scheduler of this name."""

    code = "unknown_name"
    title = "No such name"
    status = 404


class TakenError(DefinitionError):
    """The name is another's; nothing has changed."""

    code = "taken"
    title = "The name is taken"
    status = 409


class InUseError(DefinitionError):
    """Something else still names it, so it cannot go; the message says what. Nothing has changed."""

    code = "in_use"
    title = "It is still in use"
    status = 409


class ConflictError(DefinitionError):
    """It is not what the caller has seen, because somebody has changed it in between; nothing has changed now."""

    code = "conflict"
    title = "Changed in between"
    status = 412


class ReplayError(DefinitionError):
    """What failed cannot be worked on again in this way; the message says in which. Nothing has changed."""

    code = "not_replayable"
    title = "This cannot be replayed"
    status = 409


class NotExplainedError(DefinitionError):
    """No attempt of the run has left times by which it could be explained."""

    code = "not_explained"
    title = "There is nothing to explain yet"
    status = 409


class UnknownRunError(DefinitionError):
    """No run with this id."""

    code = "unknown_run"
    title = "No such run"
    status = 404


class ParameterError(DefinitionError):
    """The run's parameters do not fit the pipeline's."""

    code = "parameters"
    title = "The parameters do not fit"


class SchemaVersionError(DefinitionError):
    """The database's schema is not the one that this version needs."""

    code = "schema_version"
    title = "The database schema is another version's"


class OverlapError(CablewayError):
    """No run was made: others of the pipeline are open, and its overlap policy wants no further one."""

    code = "overlap"
    title = "The pipeline runs already"
    status = 409
    exit_code = EXIT_OK
    retry = "never"


class RunTimeoutError(CablewayError):
    """The run took longer than its timeout."""

    code = "run_timeout"
    title = "The run took too long"
    exit_code = EXIT_TIMEOUT
    retry = "policy"


class InterruptedRunError(CablewayError):
    """The run was stopped by a signal and has drained."""

    code = "interrupted"
    title = "The run was interrupted"
    exit_code = EXIT_INTERRUPTED
    retry = "yes"


ItemErrorCode = Literal[
    "timeout",
    "queue_timeout",
    "unpicklable_result",
    "unpicklable_input",
    "worker_died",
    "worker_exit",
    "too_large",
    "duplicate_id",
    "failed_before",
    "bad_result",
    "handler",
]


class ItemError(CablewayError):
    """One unit failed in a way that the flow itself detected.

    ``item_code`` tells which; ``error_type`` is the class name of the error in the child
    for ``handler``, and ``stack`` its stack without locals.
    """

    code = "item_failed"
    title = "An item failed"

    def __init__(
        self, item_code: ItemErrorCode, message: str, *, error_type: str | None = None, stack: str | None = None
    ) -> None:
        super().__init__(message)
        self.item_code: ItemErrorCode = item_code
        self.error_type = error_type
        self.stack = stack

    def __reduce__(self) -> tuple[object, ...]:
        return _item_error, (self.item_code, str(self), self.error_type, self.stack)


ENDS_ATTEMPT = (LeaseLostError, ResourceError, SinkLostError)
"""Errors of a unit with which the whole attempt ends: no item would fare better, and a later attempt works on all."""


def _item_error(item_code: ItemErrorCode, message: str, error_type: str | None, stack: str | None) -> ItemError:
    return ItemError(item_code, message, error_type=error_type, stack=stack)


class RowError(CablewayError):
    """A row does not fit where it is to go; none of its item's rows are kept.

    ``row`` counts the item's rows from 1. The message names row, column and reason, never the value.
    """

    code = "row_refused"
    title = "A row was refused"
    status = 422

    def __init__(self, reason: str, *, where: str, row: int | None = None, column: str | None = None) -> None:
        place = [where]
        if row is not None:
            place.append(f"row {row}")
        if column is not None:
            place.append(f"column {column!r}")
        super().__init__(f"{', '.join(place)}: {reason}")
        self.reason = reason
        self.where = where
        self.row = row
        self.column = column

    def __reduce__(self) -> tuple[object, ...]:
        return _row_error, (type(self), self.reason, self.where, self.row, self.column)


class BadRowError(RowError):
    """A row of a source that cannot be read; its loader was told to go on without it.

    ``row`` counts the records of the file from 1.
    """

    code = "bad_row"
    title = "A row of the source cannot be read"


def _row_error(made: type[RowError], reason: str, where: str, row: int | None, column: str | None) -> RowError:
    return made(reason, where=where, row=row, column=column)
