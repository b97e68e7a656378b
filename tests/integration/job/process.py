"""The container's command as a process of its own, against a Postgres with what a test has stored in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cableway.catalog import Catalog
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from cableway.store.port import SpanRow
from cableway.store.reading import DeadLetterRow, RunDetails

ROOT = Path(__file__).parent.parent.parent.parent
BLOCS = "tests.unit.job.blocs"
TIMEOUT_S = 50


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> Any:
        """The JSON object of the last line."""
        return json.loads(self.out.splitlines()[-1])


def environment(database: str | None, **variables: str) -> dict[str, str]:
    """A small environment, with nothing of the developer's own in it."""
    kept = {name: value for name in ("PATH", "HOME", "LANG", "TMPDIR") if (value := os.environ.get(name))}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {} if database is None else {"DATABASE_URL": database}
    return {**kept, "CABLEWAY_BLOCS": BLOCS, "PYTHONPATH": path, **own, **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cableway", *arguments]


def job(*arguments: str, env: Mapping[str, str], cwd: Path | None = None) -> Ended:
    """Run the command to its end."""
    done = subprocess.run(
        command(*arguments), env=dict(env), cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class State:
    """A state database and what is in it."""

    def __init__(self, settings: DatabaseSettings) -> None:
        assert settings.url is not None
        self.settings = settings
        self.url = settings.url

    def storage(self) -> DatabaseStorage:
        return DatabaseStorage(self.settings, catalog=Catalog((BLOCS, "tests.integration.job.lister")))

    def record(self, *stages: Mapping[str, Any], parameters: Any = None, **settings: Any) -> str:
        """Store a pipeline and record a run of it; its id."""
        document = {"name": "p", "stages": list(stages), "settings": settings, "parameters": parameters or {}}
        with self.storage() as storage:
            storage.save_pipeline(document)
            return storage.record_run(RunRequest(pipeline="p", traceparent=TRACEPARENT)).run_id

    def run(self, run_id: str, cwd: Path | None = None, **variables: str) -> Ended:
        return job(run_id, env=environment(self.url, **variables), cwd=cwd)

    def details(self, run_id: str) -> RunDetails:
        with self.storage() as storage:
            return storage.get_run(run_id)

    def spans(self, run_id: str) -> tuple[SpanRow, ...]:
        with self.storage() as storage:
            return tuple(storage.list_spans(run_id))

    def letters(self, run_id: str) -> tuple[DeadLetterRow, ...]:
        with self.storage() as storage:
            return tuple(storage.list_dead_letters(run_id))


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
