"""The edge of the command: every error becomes one message that says what to do, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from cableway.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, EXIT_RESOURCE, CablewayError, Fault, ParameterError
from cableway.settings import environment

_OUT_OF_RESOURCES = frozenset({errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EDQUOT})


def exit_code_of(command: Callable[[], object], *, json: bool = False) -> int:
    """Call *command* and return what the process exits with. A traceback is shown with ``LOG_LEVEL=DEBUG`` alone.

    With *json* an error is a problem (RFC 9457) on stdout as well.
    """
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except CablewayError as error:
        _tell(str(error), error)
        _tell_details(error)
        if json:
            _print_problem(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read us has seen enough; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        if error.errno not in _OUT_OF_RESOURCES:
            _tell(f"an error that nobody foresaw: {type(error).__name__}: {error}", error)
            return EXIT_BUG
        _tell(f"the machine is out of something: {error}", error)
        return EXIT_RESOURCE
    except Exception as error:  # noqa: BLE001 - the last place where it can become a message
        _tell(f"an error that nobody foresaw: {type(error).__name__}: {error}", error)
        return EXIT_BUG
    return EXIT_OK


def _tell_details(error: CablewayError) -> None:
    for fault in _untold(error):
        line = "" if fault.line is None else f"line {fault.line}, "
        _say(f"  {line}{fault.pointer or '/'}: {fault.message}")
    if isinstance(error, ParameterError):
        _say("  a parameter is given as -p NAME=VALUE")


def _untold(error: CablewayError) -> list[Fault]:
    """The faults that the error's message does not name: several may say the same of different places."""
    text = f" {error}"
    if len(error.faults) == 1 and error.faults[0].message in text:
        return []
    return [fault for fault in error.faults if f" {fault.pointer or 'the document'}: {fault.message}" not in text]


def _print_problem(error: CablewayError) -> None:
    from json import dumps

    with suppress(BrokenPipeError):
        sys.stdout.write(f"{dumps(error.problem(), indent=2, ensure_ascii=False)}\n")


def _tell(message: str, error: Exception) -> None:
    if environment().get("LOG_LEVEL", "").upper() == "DEBUG":
        _say("".join(traceback.format_exception(error)).rstrip())
    _say(f"cableway: {message}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
