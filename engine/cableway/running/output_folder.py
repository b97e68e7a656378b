"""A folder for each attempt at a run, in which its blocs may leave files."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cableway.errors import DefinitionError, Fault, SettingsError
from cableway.running.report import lack_of

if TYPE_CHECKING:
    from cableway.context import RunFacts

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def make_output_folder(root: str, facts: RunFacts, wanted: str | None = None) -> str:
    """Make the attempt's folder below *root*, and return its absolute path; the same one if it is asked again.

    It is ``<wanted>/<time>_<run>``, where *wanted* is the definition's own ``output_dir``, else the scheduler
    or the pipeline. Raise `DefinitionError` where *wanted* leads out of *root*, `ResourceError` for a full disk,
    `SettingsError` where it cannot be made.
    """
    place = wanted if wanted is not None else _file_name(facts.scheduler_name or facts.pipeline)
    if any(part in {"", ".", ".."} for part in place.split("/")) or "\0" in place:
        message = f"the output_dir {place!r} leads out of its folder, or nowhere"
        raise DefinitionError(message, [Fault("/settings/output_dir", "path", message)])
    path = os.path.join(os.path.abspath(root), place, _run_name(facts))  # noqa: PTH100, PTH118 - pathlib would be loaded for this alone
    try:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - as above
    except OSError as error:
        raise lack_of(error) or SettingsError(
            f"PIPELINES_LOGS_DIR: the folder {path} cannot be made: {error.strerror}"
        ) from None
    return path


def _run_name(facts: RunFacts) -> str:
    """The time first, so that folders sort by it; the run's own digits, as several may begin in a second."""
    digits = facts.run_id.replace("-", "")
    if facts.scheduled_at is not None:
        due = datetime.fromisoformat(facts.scheduled_at).astimezone(UTC)
    else:
        # A run's id begins with the milliseconds at which it was recorded: the same for each of its attempts.
        due = datetime.fromtimestamp(int(digits[:12], 16) / 1000, UTC)
    attempt = f"_attempt{facts.attempt}" if facts.attempt > 1 else ""
    return f"{due:%Y%m%d_%H%M%S}_{digits[-8:]}{attempt}"


def _file_name(name: str) -> str:
    safe = _UNSAFE.sub("_", name)
    return safe if safe.strip(".") else safe.replace(".", "_")
