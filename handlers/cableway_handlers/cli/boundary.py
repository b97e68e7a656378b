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
        _tell(_headline(error), error)
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


def _headline(error: CablewayError) -> str:
    """The message; where it lists several faults, what comes before them and how many they are."""
    if not _is_list(error):
        return str(error)
    before = str(error).partition(_line(error.faults[0]))[0].strip(" :")
    return f"{before}: {len(error.faults)} faults" if before else f"{len(error.faults)} faults"


def _is_list(error: CablewayError) -> bool:
    return len(error.faults) > 1 and _line(error.faults[0]) in str(error)


def _file(fault: Fault) -> str:
    """The file in which it stands, where there are several."""
    file, hash_sign, _ = fault.pointer.partition("#")
    return file if hash_sign else ""


def _line(fault: Fault) -> str:
    line = "" if fault.line is None else f"line {fault.line}, "
    return f"{line}{fault.pointer or 'the document'}: {fault.message}"


def _tell_details(error: CablewayError) -> None:
    faults = error.faults if _is_list(error) else _untold(error)
    files = list(dict.fromkeys(map(_file, faults)))
    for fault in sorted(faults, key=lambda fault: (files.index(_file(fault)), fault.line is None, fault.line or 0)):
        _say(f"  {_line(fault)}")
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
