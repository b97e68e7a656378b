"""Runs a pipeline of the tests' own blocs the way a job does, over the store in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.definition import PipelineDefinition
from cableway.job import run_opened
from cableway.running.opening import Opened
from cableway.running.stopping import Signals
from cableway.settings import read_settings
from cableway.store.memory import MemoryRun, MemoryRunStore
from cableway.store.port import DeadLetter, RunResult
from tests.unit.job import blocs

MODULE = "tests.unit.job.blocs"


def bloc(bloc_type: str, name: str | None = None, /, **config: Any) -> dict[str, Any]:
    """A bloc entry; ``lane`` and ``inputs`` go to the entry, the rest into the config."""
    entry: dict[str, Any] = {key: config.pop(key) for key in ("lane", "inputs") if key in config}
    return {"name": name or bloc_type, "bloc_type": bloc_type, "config": config, **entry}


def stage(*blocs_: Mapping[str, Any], name: str | None = None, **settings: Any) -> dict[str, Any]:
    return {"name": name or f"s_{blocs_[0]['name']}", "blocs": list(blocs_), **settings}


def pipeline(*stages: Mapping[str, Any], parameters: Any = None, **settings: Any) -> PipelineDefinition:
    document = {"name": "p", "stages": list(stages), "settings": settings, "parameters": parameters or {}}
    return check_document(document, catalog=Catalog((MODULE,)))


@dataclass
class Ran:
    """What came of it."""

    code: int
    run: MemoryRun

    @property
    def result(self) -> RunResult:
        assert self.run.result is not None
        return self.run.result

    @property
    def reason(self) -> str:
        problem = self.result.problem
        return "" if problem is None else str(problem["type"]).rpartition(":")[2]

    @property
    def detail(self) -> str:
        problem = self.result.problem
        return "" if problem is None else str(problem["detail"])

    @property
    def letters(self) -> Sequence[DeadLetter]:
        return list(self.run.letters.values())


def run(
    definition: PipelineDefinition,
    *,
    store: MemoryRunStore | None = None,
    parameters: Mapping[str, Any] | None = None,
    signals: Signals | None = None,
    **variables: str,
) -> Ran:
    """Run *definition* to its end."""
    store = store or MemoryRunStore()
    run_id = store.add_run(definition, parameters)
    settings = read_settings({"CABLEWAY_BLOCS": MODULE, **variables})
    code = run_opened(Opened(store, lambda: store, run_id), settings, variables, signals=signals)
    return Ran(code, store.runs[run_id])


def seen(name: str) -> list[Any]:
    """What the bloc *name* noted."""
    return [value for bloc_name, value in blocs.SEEN if bloc_name == name]
