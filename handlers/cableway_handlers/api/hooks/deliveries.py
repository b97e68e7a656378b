"""What passes between the hook route and whoever records: deliveries, what became of them, and how runs stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cableway.errors import CablewayError
from cableway.runs import RunRequest
from cableway.telemetry.propagation import Remote
from cableway_handlers.api.hooks.hook import Hook, Mapped
from cableway_handlers.api.hooks.records import Record


@dataclass(slots=True, kw_only=True)
class Delivery:
    """A webhook that was verified and may become a run."""

    hook: Hook
    key: str
    """What makes it the same delivery, within the pipeline."""
    body_hash: str
    mapped: Mapped | None
    """None: it becomes no run today, but it may be one that made a run before."""
    refusal: CablewayError | None = None
    """Why it becomes none; None as well: its hook's condition does not hold."""
    caller: Remote | None = None

    def request(self) -> RunRequest | None:
        """The run that it asks for."""
        if self.mapped is None:
            return None
        caller = self.caller
        return RunRequest(
            pipeline=self.hook.pipeline,
            parameters=self.mapped.parameters,
            texts=self.mapped.texts,
            key=self.key,
            body_hash=self.body_hash,
            trigger_name=self.hook.name,
            traceparent=None if caller is None else f"00-{caller.trace_id}-{caller.span_id}-01",
            tracestate=None if caller is None else caller.tracestate or None,
        )


@dataclass(slots=True)
class Recorded:
    """The run that a delivery made; ``replayed`` if an earlier delivery of the same key had made it."""

    run_id: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run stands."""

    state: str
    ended: bool
    body: Mapping[str, Any]
    """As it is answered."""


class Register(Protocol):
    """Where hooks are looked up and runs are recorded. Each raises `UnavailableError` while Postgres is away."""

    async def find_hook(self, name: str) -> Hook | None:
        """The enabled webhook trigger of this name. Raise `SettingsError` where its config is none."""
        ...

    async def record(self, delivery: Delivery) -> Recorded | None:
        """Commit the delivery's run, or find the one that the same key made before; None: it is filtered.

        Raise what refuses it: `KeyReusedError`, `ParameterError`, `UnknownPipelineError`, `OverlapError`, or its own.
        """
        ...

    async def outcome(self, run_id: str) -> Outcome:
        """How the run stands."""
        ...

    def keep(self, record: Record) -> None:
        """Keep the record of a delivery soon."""
        ...
