"""``cableway run --file``, and parts of a pipeline: run in this process, to try something out; recorded nowhere."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cableway.errors import UsageError
from cableway.running.excerpt import Excerpt
from cableway.running.opening import JobRequest, open_run
from cableway.running.stopping import Signals
from cableway.settings import get_environment, read_settings
from cableway.store.memory import MemoryRun, MemoryRunStore
from cableway_handlers.cli import screen, show
from cableway_handlers.cli.workplace import workplace

if TYPE_CHECKING:
    from cableway.settings import Settings


def try_out(request: JobRequest, *, verbose: bool, json: bool) -> int:
    """Run a file, or a part of a stored pipeline, show what came of it, and return the exit code."""
    with ExitStack() as stack:
        if request.file is not None:
            variables: Mapping[str, str] = get_environment()
            settings = read_settings(variables)
        else:
            place = stack.enter_context(workplace())
            variables, settings = place.environment, place.settings
        began = time.monotonic()
        run, code = _run(request, settings, variables, verbose=verbose)
        wall_s = time.monotonic() - began
    if json:
        screen.as_json(_as_dict(run))
    else:
        show.trial(run, wall_s=wall_s)
    return code


def given_data(inputs: Sequence[str]) -> dict[str, Any]:
    """What ``--input BLOC=FILE`` names, by bloc: the value in a JSON file, or rows of JSON Lines or CSV."""
    given: dict[str, Any] = {}
    for each in inputs:
        bloc, equals, path = each.partition("=")
        if not bloc or not equals or not path:
            raise UsageError(f"--input takes BLOC=FILE, and {each!r} is not that")
        given[bloc] = _read(Path(path))
    return given


def excerpt(
    *, limit: int | None, dry_run: bool, first: str | None, last: str | None, given: Mapping[str, Any]
) -> Excerpt | None:
    """The part that the options ask for; None where they ask for the whole."""
    asked = Excerpt(limit=limit, dry_run=dry_run, first=first, last=last, given=given)
    return None if asked == Excerpt() else asked


def _run(
    request: JobRequest, settings: Settings, variables: Mapping[str, str], *, verbose: bool
) -> tuple[MemoryRun, int]:
    from cableway.job import run_opened
    from cableway.logs import set_up_logging

    set_up_logging(settings if verbose else replace(settings, log_level="WARNING"))
    opened = open_run(request, settings)
    if not isinstance(opened.store, MemoryRunStore):
        raise TypeError("such a run is in memory")
    with _draining() as signals:
        code = run_opened(opened, settings, variables, signals=signals, tell=lambda _: None)
    return opened.store.runs[opened.run_id], code


@contextmanager
def _draining() -> Generator[Signals]:
    """Within, the first SIGINT or SIGTERM lets the run drain, and the second one ends it."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signals = Signals()
    signals.install()
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(path: Path) -> Any:
    import json

    try:
        match path.suffix.lower():
            case ".json":
                return json.loads(path.read_bytes())
            case ".jsonl" | ".ndjson":
                return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
            case ".csv":
                from cableway.testing import run_bloc

                return run_bloc("csv_loader", {"file_path": str(path)})
            case _:
                raise UsageError(f"{path}: what is given ends in .json, .jsonl or .csv")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path}: is no JSON") from None


def _as_dict(run: MemoryRun) -> dict[str, Any]:
    result = run.result
    return {
        "run_id": run.run_id,
        "pipeline": run.definition.name,
        "recorded": False,
        "state": run.state,
        "parameters": run.parameters,
        "result": result,
        "dead_letters": list(run.letters.values()),
    }
