"""The container's command: ``python -m cableway RUN_ID``.

Also ``run NAME -p key=value [--key K]``, which records the run itself, and ``run --file
pipeline.yaml``, which needs no database. Exit codes are those of `cableway.errors`.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from cableway.job import JobRequest

USAGE = """\
usage: python -m cableway RUN_ID
       python -m cableway run NAME [-p KEY=VALUE ...] [--key KEY]
       python -m cableway run --file PIPELINE [-p KEY=VALUE ...]

Runs a pipeline once. The database is named by DATABASE_URL, or by DATABASE_HOST and its siblings.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run once and return the exit code."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    words = sys.argv[1:] if arguments is None else arguments
    if words in (["-h"], ["--help"]):
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

    return run_job(request)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Before the run has begun there is nothing to drain."""
    del number, frame
    raise SystemExit(143)


def _request(words: list[str]) -> JobRequest:
    if not words:
        raise ValueError("which run? Give a run id, or 'run NAME'")
    from cableway.job import JobRequest

    if words[0] != "run":
        if len(words) > 1 or words[0].startswith("-"):
            raise ValueError(f"unknown argument {words[-1]!r}")
        return JobRequest(run_id=words[0])
    return _run_request(words[1:], JobRequest)


def _run_request(words: list[str], make: type[JobRequest]) -> JobRequest:
    pipeline: str | None = None
    file: str | None = None
    key: str | None = None
    parameters: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        match word:
            case "-p" | "--param":
                name, equals, value = _value_of(word, rest).partition("=")
                if not equals or not name:
                    raise ValueError(f"{word} takes KEY=VALUE")
                parameters[name] = value
            case "--file":
                file = _value_of(word, rest)
            case "--key":
                key = _value_of(word, rest)
            case _ if word.startswith("-") or pipeline is not None:
                raise ValueError(f"unknown argument {word!r}")
            case _:
                pipeline = word
    if (pipeline is None) == (file is None):
        raise ValueError("run takes either the name of a pipeline or --file")
    return make(pipeline=pipeline, file=file, key=key, parameters=parameters)


def _value_of(option: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise ValueError(f"{option} takes a value")
    return value


if __name__ == "__main__":
    sys.exit(main())
