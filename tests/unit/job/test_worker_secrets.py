"""What workers are told of the secrets in their configs, by lane."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cableway.blocs.worker import build_in_house
from cableway.catalog import Catalog
from cableway.checks import check_document
from cableway.context import RunFacts
from cableway.errors import DefinitionError
from cableway.flow.config import ExecutionType
from cableway.flow.lanes.protocol import HandlerFactory
from cableway.flow.pipeline import ETLPipeline
from cableway.redaction import redacted
from cableway.references import with_references
from cableway.running.assembly import Assembly
from cableway.running.placing import worker_target
from cableway.secret_sources import SecretSources
from tests.unit.job.running import MODULE, bloc, stage

CANARY = "worker-canary-4711"


def factory(lane: str) -> HandlerFactory:
    """What the lane is given for a bloc whose config names a secret."""
    stages = [stage(bloc("numbers")), stage(bloc("multiply", what="${secret:word}", lane=lane))]
    catalog = Catalog((MODULE,))
    settings = {"dask_address": "tcp://127.0.0.1:8786"}
    written = {"name": "p", "stages": stages, "secrets": ["word"], "settings": settings}
    document = check_document(written, catalog=catalog)
    definition, resolved = with_references(document, {}, {})
    assert resolved == {"multiply"}
    secrets = SecretSources(("env:",), {"word": CANARY}).values(["word"])
    blocs = {
        each.name: catalog.build(each, checked=each.name not in resolved, secrets=secrets)
        for part in definition.stages
        for each in part.blocs
    }
    assert blocs["multiply"].config.what == CANARY
    assembly = Assembly(definition, blocs, RunFacts(run_id="r", pipeline="p"), secrets=secrets)
    found: list[HandlerFactory] = []

    class Registered(ETLPipeline):
        def register_stage_blocs(self, stage_name: Any, blocs: Any, merge: Any = None) -> None:
            found.extend(each.handler for each in blocs if isinstance(each.handler, HandlerFactory))

    assembly.register(Registered(assembly.config(), source=[]))
    (only,) = found
    assert CANARY not in repr(assembly.definition) + repr(only) + repr(blocs["multiply"].config)
    return only


def built(made: HandlerFactory) -> Any:
    """As a worker does it."""
    build: Any = build_in_house
    return build(*pickle.loads(pickle.dumps(made.args)), {})


def test_a_process_is_sent_the_secret_over_its_pipe_and_keeps_it() -> None:
    made = factory("process")
    assert CANARY.encode() in pickle.dumps(made.args)
    handler = built(made)
    assert handler("1", {"numbers": 3}) == 6
    assert redacted(CANARY) == "***"


def test_a_dask_worker_is_sent_the_reference_and_looks_it_up_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    made = factory("dask")
    assert CANARY.encode() not in pickle.dumps(made.args)
    monkeypatch.setenv("CABLEWAY_SECRETS", "env:OF_THE_WORKER_")
    with pytest.raises(DefinitionError, match=r"\$\{secret:word\}: no secret of this name in env:OF_THE_WORKER_"):
        built(made)
    monkeypatch.setenv("OF_THE_WORKER_word", "another-canary-4711")
    handler = built(made)
    assert handler("1", {"numbers": 3}) == 6
    assert redacted("another-canary-4711") == "***"


def test_a_number_out_of_a_variable_is_a_number_in_the_worker_too() -> None:
    catalog = Catalog((MODULE,))
    stages = [stage(bloc("numbers"), bloc("multiply", factor="${env:FACTOR}", lane="process"))]
    document = check_document({"name": "p", "stages": stages, "env": ["FACTOR"]}, catalog=catalog)
    definition, _ = with_references(document, {}, {"FACTOR": "7"})
    entry = definition.stages[0].blocs[1]
    made = catalog.build(entry, checked=False)
    _, config = worker_target(made, entry, ExecutionType.PROCESS, {})
    assert (entry.config["factor"], config["factor"]) == ("7", 7)
