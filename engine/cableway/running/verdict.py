"""What came of a run's items: how they ended, what failed first, and what the run failed of, if it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cableway.errors import (
    ENDS_ATTEMPT,
    AccountingError,
    BadRowError,
    CredentialsError,
    DefinitionError,
    ItemError,
    ItemsFailedError,
    ResourceError,
    RunFailedError,
    SourceError,
)
from cableway.flow.observer import FlowEnded, Observer, Outcome
from cableway.running.gate import FAILED_BEFORE
from cableway.running.report import lack_of, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cableway.items import WorkItem
    from cableway.running.recovery import Recovered
    from cableway.running.stopping import Stop


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that failed for good."""

    stage: str
    bloc: str
    item_id: str
    error: BaseException

    def __str__(self) -> str:
        place = f"stage {self.stage!r}" + (f", bloc {self.bloc!r}" if self.bloc != self.stage else "")
        return f"{place}, item {self.item_id!r}: {words_of(self.error)}"


class Verdict(Observer):
    """Listens to the flow. *sources* are the loaders of the first stage: when one fails, so does the run."""

    def __init__(self, sources: frozenset[str], max_errors: int | str, stop: Stop) -> None:
        self.emitted = 0
        self.outcomes = dict.fromkeys(Outcome, 0)
        self._sources = sources
        self._max_errors = max_errors
        self._stop = stop
        self._first: Failure | None = None
        self._source: Failure | None = None
        self.carried: Mapping[str, int] = {}
        """What earlier attempts have counted below the cursor from which this one goes on."""
        self.passed_over: Callable[[], int] = int
        """How many source items beyond that were found finished."""
        self._settled: frozenset[tuple[str, str]] = frozenset()
        self._own_settled: frozenset[tuple[str, str]] = frozenset()
        self._met: dict[tuple[str, str], bool] = {}

    def item_failed(
        self, item: WorkItem, stage: str, bloc: str, error: BaseException, attempts: int, at_ns: int
    ) -> None:
        """Keep the first failure, and the source's own.

        A destination that shuts us out ends the attempt, and so does a disk that is full: no item would fare better.
        """
        if isinstance(error, ENDS_ATTEMPT):
            self._stop.ask(error)
        if (unit := (stage, item.job_id)) in self._settled:
            refused = isinstance(error, ItemError) and error.item_code == FAILED_BEFORE
            self._met[unit] = refused and self._met.get(unit, True)
            if refused:
                return
        failure = Failure(stage, bloc, item.job_id, error)
        self._first = self._first or failure
        if bloc in self._sources and not isinstance(error, BadRowError):
            self._source = self._source or failure

    def run_ended(self, event: FlowEnded) -> None:
        """Keep the flow's own account, and add what earlier attempts have counted."""
        passed_over = self.passed_over()
        self.emitted = event.emitted + self.carried.get("emitted", 0) + passed_over
        self.outcomes.update(event.outcomes)
        self.outcomes[Outcome.SUCCEEDED] += passed_over
        for outcome in Outcome:
            self.outcomes[outcome] += self.carried.get(outcome.value, 0)

    def know(self, recovered: Recovered) -> None:
        """What failed before and was brought through by replays since then has not failed."""
        self._settled, self._own_settled = recovered.settled, recovered.own_settled

    @property
    def failed(self) -> int:
        """Items that failed or were lost, without those that replays have brought through."""
        return self.outcomes[Outcome.FAILED] + self.outcomes[Outcome.LOST] - self._brought_through()

    @property
    def source_failed(self) -> bool:
        """Whether a loader of the first stage failed, so that not everything was read."""
        return self._source is not None

    @property
    def complete(self) -> bool:
        """Whether every item went its way to the end, none of them cut short."""
        return self.emitted > 0 and not self.outcomes[Outcome.CANCELLED]

    def counts(self) -> dict[str, int]:
        """Emitted items, and items by outcome."""
        counts, through = self.counted(), self._brought_through()
        if through:
            counts[Outcome.FAILED.value] -= through
            counts[Outcome.SUCCEEDED.value] += through
        return counts

    def counted(self) -> dict[str, int]:
        """As `counts`, without a thought of replays: what attempts add up to."""
        return {"emitted": self.emitted, **{str(name): count for name, count in self.outcomes.items()}}

    def _brought_through(self) -> int:
        """How many of the items that were counted as failed replays have brought through meanwhile.

        Those of this run that did not come again lie below the cursor, once the source was read to its end.
        """
        through = sum(self._met.values())
        if self.complete and not self.source_failed:
            through += min(len(self._own_settled - self._met.keys()), self.carried.get("failed", 0))
        return through

    def error(self, raised: BaseException | None) -> BaseException | None:
        """What the run failed of, given what the flow *raised*; None where it is complete within `max_errors`."""
        if isinstance(raised, AccountingError):
            return raised
        if self._source is not None:
            return _of_source(self._source)
        if isinstance(raised, ItemsFailedError) and self._first is not None:
            return ItemsFailedError(f"an item failed, and its stage fails the run for that: {self._first}")
        if raised is not None:
            return raised
        return self._too_many()

    def _too_many(self) -> ItemsFailedError | None:
        failed = self.failed
        if not failed or self._allows(failed):
            return None
        items = "1 item" if failed == 1 else f"{failed} items"
        first = "" if self._first is None else f"{'' if failed == 1 else 'the first '}in {self._first}"
        return ItemsFailedError(f"{items} of {self.emitted} failed, max_errors is {self._max_errors}; {first}")

    def _allows(self, failed: int) -> bool:
        if isinstance(self._max_errors, int):
            return failed <= self._max_errors
        from fractions import Fraction  # as a float, 29% of 100 items would be 28

        return failed * 100 <= Fraction(self._max_errors.rstrip("% ")) * self.emitted


def _of_source(failure: Failure) -> BaseException:
    error = failure.error
    if isinstance(error, RunFailedError | DefinitionError | CredentialsError | ResourceError):
        return error
    lack = lack_of(error)
    if lack is not None:
        return lack
    made = SourceError(f"loader {failure.bloc!r} could not go on reading: {words_of(error)}")
    made.__cause__ = error
    return made
