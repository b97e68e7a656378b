"""The container's command: ``python -m cableway RUN_ID``.

Also ``run NAME -p key=value [--key K]``, which records the run itself, and ``run --file
pipeline.yaml``, which needs no database. Exit codes are those of `cableway.errors`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from cableway.running.stopping import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cableway.running.opening import JobRequest

PARTIAL_OK = "--partial-ok"
USAGE = """\
usage: python -m cableway [--partial-ok] RUN_ID
       python -m cableway run NAME [-p KEY=VALUE ...] [--key KEY] [--partial-ok]
       python -m cableway run --file PIPELINE [-p KEY=VALUE ...] [--partial-ok]
       python -m cableway --version | --help

Runs a pipeline once and prints one JSON object as its last line. The database is named by
DATABASE_URL, or by DATABASE_HOST and its siblings; with --file none is needed. With --partial-ok
the exit code is 0, and not 3, where items failed and others succeeded.
"""


def main(arguments: list[str] | None = None, signals: Signals | None = None) -> int:
    """Run once and return the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(words[:2]):
        sys.stdout.write(USAGE)
        return 0
    if words == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"cableway {version('cableway')}\n")
        return 0
    try:
        request = _request(words)
    except ValueError as error:
        sys.stderr.write(f"cableway: {error}\n{USAGE}")
        return 2
    from cableway.job import run_job

    return run_job(request, signals=signals)


def _request(words: list[str]) -> JobRequest:
    from cableway.running.opening import JobRequest

    partial_ok = PARTIAL_OK in words
    words = [word for word in words if word != PARTIAL_OK]
    if words[:1] == ["run"]:
        return _run_request(words[1:], partial(JobRequest, partial_ok=partial_ok))
    if not words:
        raise ValueError("which run? Give a run id, or 'run NAME'")
    for word in (*words[1:], words[0]):
        if word.startswith("-") or word is not words[0]:
            raise ValueError(f"unknown argument {word!r}")
    return JobRequest(run_id=words[0], partial_ok=partial_ok)


def _run_request(words: list[str], make: Callable[..., JobRequest]) -> JobRequest:
    pipeline: str | None = None
    options: dict[str, str] = {}
    parameters: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in {"-p", "--param", "--file", "--key"}:
            value = value if equals else _value_of(option, rest)
            if option in {"-p", "--param"}:
                parameters.update([_parameter(option, value)])
            elif option in options:
                raise ValueError(f"{option} is given twice")
            else:
                options[option] = value
        elif word.startswith("-") or pipeline is not None:
            raise ValueError(f"unknown argument {word!r}")
        else:
            pipeline = word
    if (pipeline is None) == ("--file" not in options):
        raise ValueError("run takes either the name of a pipeline or --file")
    return make(pipeline=pipeline, file=options.get("--file"), key=options.get("--key"), parameters=parameters)


def _parameter(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{option} takes KEY=VALUE")
    return name, value


def _value_of(option: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise ValueError(f"{option} takes a value")
    return value


def _hold_streams() -> None:
    """Where a standard stream is closed, hold its number, or the next connection would be written to as stderr."""
    import os

    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where it was closed
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] - as above
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _leave(code: int) -> None:
    """Exit; at once where a thread of somebody's, or a pipe that nobody reads, would hold the process up for ever."""
    import os
    import threading

    from cableway.standard_streams import is_stuck, write_out

    left = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    if left:
        write_out(sys.stderr, f"cableway: threads are still at work and are left behind: {', '.join(left)}\n")
    for stream in (sys.stdout, sys.stderr):
        write_out(stream, "")
    if left or is_stuck():
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _hold_streams()
    # Before anything slow is imported: as process 1 a signal that nobody handles is ignored.
    _signals = Signals()
    _signals.install()
    _leave(main(signals=_signals))
