"""What can be asked of runs and what they leave, of webhooks, limits and bloc types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from cableway_handlers.client import calls
from cableway_handlers.client.asking import Asking, asked, many, member, one
from cableway_handlers.client.options import DeliveryFilters, LetterFilters, LetterReplay, RunFilters, RunReplay
from cableway_handlers.client.shapes import (
    Attempt,
    BlocType,
    DeadLetter,
    Delivery,
    Explanation,
    Health,
    Hook,
    Limit,
    Replayed,
    Run,
    RunEntry,
    Span,
    Stage,
)


class Records:
    """Methods of both clients."""

    @asked
    def health_check(self) -> Asking[Health]:
        """How the service is; raises only where it does not answer at all."""
        return one(calls.HEALTH)

    @asked
    def list_runs(self, *, limit: int | None = 100, **filters: Unpack[RunFilters]) -> Asking[list[RunEntry]]:
        """The newest runs, *limit* of them at most (None: all)."""
        return many("/runs", filters, limit)

    @asked
    def get_run(self, run_id: str) -> Asking[Run]:
        """The run with its attempts and stages."""
        return one(calls.get("runs", run_id))

    @asked
    def create_run(
        self, pipeline: str, parameters: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> Asking[Run]:
        """Start a run now: one, however often the request has to be sent."""
        return one(calls.create_run(pipeline, parameters, idempotency_key))

    @asked
    def cancel_run(self, run_id: str) -> Asking[Run]:
        """Ask for the run's end."""
        return one(calls.do("runs", run_id, "cancel"))

    @asked
    def retry_run(self, run_id: str, *, from_stage: str | None = None) -> Asking[Run]:
        """One more attempt at a run that ended without success; with a stage, a new run that reads all again."""
        return one(calls.do("runs", run_id, "retry", body={"from_stage": from_stage}))

    @asked
    def replay_run(self, run_id: str, **which: Unpack[RunReplay]) -> Asking[list[Replayed]]:
        """Have what failed in the run worked on again: one new run for each stage."""
        return member(calls.do("runs", run_id, "replay", body=which), "runs")

    @asked
    def replay_dead_letters(self, **which: Unpack[LetterReplay]) -> Asking[list[Replayed]]:
        """Have dead letters worked on again: one new run for each run and stage."""
        return member(calls.do("dead-letters", "replay", body=which), "runs")

    @asked
    def list_attempts(self, run_id: str) -> Asking[list[Attempt]]:
        """The containers that have worked on the run, in order."""
        return member(calls.get("runs", run_id, "attempts"), "items")

    @asked
    def list_stages(self, run_id: str) -> Asking[list[Stage]]:
        """What each stage of the run's last attempt did."""
        return member(calls.get("runs", run_id, "stages"), "items")

    @asked
    def explain_run(self, run_id: str) -> Asking[Explanation]:
        """Which stage held the run up, and what more workers there would have given."""
        return one(calls.get("runs", run_id, "explanation"))

    @asked
    def list_spans(self, run_id: str) -> Asking[list[Span]]:
        """The sample of the run's trace that is kept."""
        return member(calls.get("runs", run_id, "spans"), "items")

    @asked
    def list_dead_letters(
        self, *, limit: int | None = 100, **filters: Unpack[LetterFilters]
    ) -> Asking[list[DeadLetter]]:
        """The newest dead letters, *limit* of them at most (None: all)."""
        return many("/dead-letters", filters, limit)

    @asked
    def get_dead_letter(self, letter_id: int) -> Asking[DeadLetter]:
        """The dead letter with this id."""
        return one(calls.get("dead-letters", letter_id))

    @asked
    def list_hooks(self) -> Asking[list[Hook]]:
        """Every webhook by name."""
        return many("/hooks", {})

    @asked
    def list_deliveries(self, *, limit: int | None = 100, **filters: Unpack[DeliveryFilters]) -> Asking[list[Delivery]]:
        """The newest records of webhooks, *limit* of them at most (None: all)."""
        return many("/deliveries", filters, limit)

    @asked
    def get_delivery(self, delivery_id: str) -> Asking[Delivery]:
        """The record of one webhook."""
        return one(calls.get("deliveries", delivery_id))

    @asked
    def list_limits(self) -> Asking[list[Limit]]:
        """Every limit by name, with what runs have taken of it."""
        return many("/limits", {})

    @asked
    def get_limit(self, name: str) -> Asking[Limit]:
        """The limit of this name."""
        return one(calls.get("limits", name))

    @asked
    def set_limit(
        self, name: str, *, concurrency: int | None = None, rate: float | None = None, period_s: float = 1.0
    ) -> Asking[Limit]:
        """Make the limit, or change it: units at a time, and units begun in each *period_s*."""
        body = {"concurrency": concurrency, "rate": rate, "period_s": period_s}
        return one(calls.change("limits", name, body, None))

    @asked
    def delete_limit(self, name: str) -> Asking[None]:
        """Forget the limit."""
        return one(calls.delete("limits", name, None))

    @asked
    def list_bloc_types(self) -> Asking[list[BlocType]]:
        """Every bloc type by name."""
        return many("/bloc-types", {})

    @asked
    def get_bloc_type(self, name: str) -> Asking[BlocType]:
        """What the bloc type is and how it is configured."""
        return one(calls.get("bloc-types", name))
