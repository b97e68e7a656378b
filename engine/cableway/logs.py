"""
Where log lines go and what they look like: one place for the job, its workers, the API and the commands.

Every line goes to stderr and, where ``LOG_DIR`` is set, to ``cableway.log`` there, and to a file of
its own for each area (``job.log``, ``api.log``, ``scheduler.log``: the word after ``cableway.`` in the
logger's name). A line says which run and trace it belongs to, holds no secret, and is one line: what
would break it up is escaped. Nothing that goes wrong with logging reaches the caller.

Imported in workers, so it imports little.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from cableway.redaction import redacted
from cableway.standard_streams import write_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cableway.settings import Settings

AREAS = frozenset({"api", "blocs", "flow", "job", "launch", "progress", "scheduler", "store", "telemetry"})
"""Words that have a file of their own."""
GENERAL = "cableway"
"""The file that has every line."""


class LogPlan(NamedTuple):
    """How a process logs; what a worker is told so that it logs alike."""

    level: str = "INFO"
    levels: tuple[tuple[str, str], ...] = ()
    folder: str | None = None
    json_lines: bool = False
    ids: tuple[tuple[str, str], ...] = ()


_plan: LogPlan | None = None
_ids: dict[str, str] = {}


def set_up_logging(settings: Settings) -> None:
    """Log as *settings* say; whoever has set up logging already keeps it."""
    _install(
        LogPlan(settings.log_level, tuple(settings.log_levels.items()), settings.log_dir, settings.log_format == "json")
    )


def name_the_run(run_id: str, trace_id: str, span_id: str) -> None:
    """From here on every line says which run and which trace it belongs to."""
    _ids.update(run_id=run_id, trace_id=trace_id, span_id=span_id)


def plan_for_workers() -> LogPlan | None:
    """How this process's workers are to log; None where somebody else has set up logging."""
    return None if _plan is None else _plan._replace(ids=tuple(_ids.items()))


def log_in_worker(plan: LogPlan) -> None:
    """Log as the job does, to the same stderr and files."""
    _ids.update(plan.ids)
    _install(plan)


def _install(plan: LogPlan) -> None:
    global _plan  # noqa: PLW0603 - as logging itself, this is the process's
    root = logging.getLogger()
    if not root.handlers:
        _plan = plan
        root.setLevel(plan.level)
        form: logging.Formatter = JsonLines() if plan.json_lines else OneLine()
        for handler in _handlers(plan):
            handler.setFormatter(form)
            root.addHandler(handler)
        _hear_python()
        logging.setLoggerClass(SteadyLogger)
        for logger in list(logging.Logger.manager.loggerDict.values()):
            if type(logger) is logging.Logger and logger.name.partition(".")[0] == GENERAL:
                logger.__class__ = SteadyLogger
    for name, level in plan.levels:
        logging.getLogger(name).setLevel(level)


def _hear_python() -> None:
    """Have what Python would write to stderr by itself logged: warnings, and errors that nobody can catch."""
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _not_raised


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        name = failed.thread.name if failed.thread is not None else ""
        logging.getLogger(GENERAL).error("the thread %r ended with an error", name, exc_info=failed.exc_value)


def _not_raised(failed: sys.UnraisableHookArgs) -> None:
    logging.getLogger(GENERAL).error(
        "%s: %r", failed.err_msg or "an error that could not be raised", failed.object, exc_info=failed.exc_value
    )


def _handlers(plan: LogPlan) -> list[logging.Handler]:
    handlers: list[logging.Handler] = [QuietStream()]
    if plan.folder is not None:
        try:
            os.makedirs(plan.folder, exist_ok=True)  # noqa: PTH103 - pathlib would be loaded for this alone
        except OSError as error:
            _say(f"LOG_DIR {plan.folder}: {error.strerror}; there are no log files")
        else:
            handlers.append(AreaFiles(plan.folder))
    return handlers


class SteadyLogger(logging.Logger):
    """A logger whose caller never hears of a handler that raises."""

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Hand *record* over; what a handler raises is said once on stderr."""
        try:
            super().callHandlers(record)
        except Exception as error:  # noqa: BLE001 - somebody's handler may raise anything
            _say_once(f"a log handler failed: {type(error).__name__}")


class QuietStream(logging.StreamHandler[TextIO]):
    """Lines for stderr, wherever that leads; where it is closed, or nobody reads, they are lost."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*."""
        try:
            write_out(self.stream, f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - an argument that cannot be formatted
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Nobody is there to be told."""


class AreaFiles(logging.Handler):
    """Every line in ``cableway.log``, and in its area's file; a line that cannot be written is lost, and said once."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder
        self._files: dict[str, TextIO] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*."""
        try:
            line = f"{self.format(record)}\n"
            area = area_of(record.name)
            for name in (GENERAL,) if area is None else (GENERAL, area):
                file = self._file(name)
                file.write(line)
                file.flush()
        except Exception as error:  # noqa: BLE001 - a full disk, an argument that cannot be formatted
            self._give_up()
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            _say_once(f"LOG_DIR {self._folder}: lines are lost: {reason}")

    def close(self) -> None:
        """Close the files."""
        self._give_up()
        super().close()

    def _file(self, name: str) -> TextIO:
        if name not in self._files:
            path = os.path.join(self._folder, f"{name}.log")  # noqa: PTH118 - as above
            # Appending line by line, so that the job and its workers can write to the same file.
            self._files[name] = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123, SIM115 - as above; kept open
        return self._files[name]

    def _give_up(self) -> None:
        """Close what is open: a line that could not be written would be tried again with every one that follows."""
        files, self._files = self._files, {}
        for file in files.values():
            try:
                file.close()
            except OSError:
                continue


def area_of(logger: str) -> str | None:
    """The area that lines of *logger* belong to, if they have a file of their own."""
    first, _, rest = logger.partition(".")
    area = rest.partition(".")[0]
    return area if first == GENERAL and area in AREAS else None


class OneLine(logging.Formatter):
    """A line for people. What belongs to it (a stack) is indented below it, so that nothing can look like a line."""

    def format(self, record: logging.LogRecord) -> str:
        """*record* as text."""
        when = f"{self.formatTime(record)} {record.levelname} {escaped(record.name)}"
        ids = _ids_of(record)
        known = "".join(f" {name}={escaped(ids[name])}" for name in ("run_id", "trace_id") if name in ids)
        lines = [f"{when}: {escaped(_message(record))}{known}"]
        lines += [f"    {escaped(line)}" for line in (_stack(self, record) or "").splitlines()]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """A JSON object on a line of its own. The time is UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """*record* as JSON, in ASCII."""
        import json

        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            **_ids_of(record),
        }
        stack = _stack(self, record)
        if stack is not None:
            line["stack"] = stack
        return json.dumps(line)


def escaped(text: str) -> str:
    """*text* without anything that ends a line, moves a cursor or turns the direction of writing."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode("ascii") for each in text
    )


def _message(record: logging.LogRecord) -> str:
    return redacted(record.getMessage())


def _stack(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    parts: list[str] = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return redacted("\n".join(parts)) if parts else None


def _ids_of(record: logging.LogRecord) -> Mapping[str, str]:
    """The run's ids, unless whoever logged gave others."""
    given = record.__dict__
    return {name: str(given.get(name, known)) for name, known in _ids.items()}


_said: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _say(message)


def _say(message: str) -> None:
    try:
        write_out(sys.stderr, f"cableway: {escaped(redacted(message))}\n")
    except Exception:  # noqa: BLE001 - a stderr that is closed, or None
        return
