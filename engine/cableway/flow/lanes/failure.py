"""
A handler's failure as it leaves a worker: text that always arrives, and the error itself where it can.

Imported in workers, so it imports little.
"""

from __future__ import annotations

import pickle
from typing import NamedTuple

_MESSAGE_CHARS = 8_000
_STACK_CHARS = 32_000
_ERROR_BYTES = 1024 * 1024
_NO_SUBINTERPRETER = "does not support loading in subinterpreters"


class Failure(NamedTuple):
    """What is known of a failure. ``error`` is its pickle, or None when it cannot cross."""

    code: str
    error_type: str
    message: str
    stack: str
    error: bytes | None = None


class WorkerStack(Exception):  # noqa: N818 - not an error of its own: it carries the stack of one
    """The stack of an error in a worker, without locals: the ``__cause__`` of the error that arrived."""

    def __init__(self, stack: str) -> None:
        super().__init__(stack)
        self.stack = stack

    def __str__(self) -> str:
        return f"\n{self.stack}"


def describe(error: BaseException, code: str | None = None) -> Failure:
    """Return *error* ready to be sent; *code* tells that it was not the handler that failed."""
    kind = type(error)
    message, stack = _message(error), _stack(error)
    if isinstance(error, SystemExit) and code is None:
        return Failure("worker_exit", kind.__name__, f"the handler called sys.exit({message})", stack)
    if (module := unloadable_module(error)) is not None:
        told = f"{module} does not load in a subinterpreter: use the process lane for this handler"
        return Failure("handler", kind.__name__, told, stack)
    stops = isinstance(error, StopIteration | StopAsyncIteration)  # raised in a coroutine they mean something else
    crosses = code is None and isinstance(error, Exception) and not stops
    return Failure(code or "handler", kind.__qualname__, message, stack, _pickled(error) if crosses else None)


def unloadable_module(error: BaseException | None) -> str | None:
    """Return the top-level module behind *error* when it is an extension that refuses subinterpreters."""
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, ImportError) and _NO_SUBINTERPRETER in (text := str(error)):
            words = text[: text.index(_NO_SUBINTERPRETER)].split()
            return (words[-1] if words else error.name or "a module").split(".")[0]
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _message(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE_CHARS]
    except BaseException:
        return "(its message could not be made)"


def _stack(error: BaseException) -> str:
    try:
        from traceback import format_exception

        own = error.__traceback__.tb_next if error.__traceback__ is not None else None
        return "".join(format_exception(type(error), error, own))[-_STACK_CHARS:]
    except BaseException:
        return ""


def _pickled(error: BaseException) -> bytes | None:
    """The error's pickle when reading it gives the same error again: some that can be written cannot be read."""
    # Some libraries teach tracebacks to be pickled; ours goes as text, and its frames hold the item's data.
    error.__traceback__ = None
    try:
        body = pickle.dumps(error, 5)
        again = pickle.loads(body)
        return body if type(again) is type(error) and str(again) == str(error) and len(body) <= _ERROR_BYTES else None
    except BaseException:
        return None
