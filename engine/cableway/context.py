"""What a bloc sees of its run: the data of the blocs before it, parameters, names and a log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What is true for the whole run, and can cross to any worker: JSON values alone.

    ``line`` is what exactly-once is counted over; ``lease_token`` is what a destination fences by.
    """

    run_id: str
    pipeline: str
    version: int = 0
    line: str = ""
    attempt: int = 1
    lease_token: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    scheduler_name: str | None = None
    trigger_name: str | None = None
    scheduled_at: str | None = None
    output_dir: str | None = None


class MissingDataError(LookupError):
    """A bloc asked for data that no bloc before it has given, or that it did not declare as an input."""


class RunContext:
    """A bloc's view of the run while it works on one item.

    `get_data` gives what another bloc made of this item, or of the run where that bloc was a
    side input. Only the bloc's own result leaves a worker: `set_data` off the loop is for the
    bloc's own name alone.
    """

    __slots__ = ("_inputs", "_own", "_view", "_views", "bloc", "facts", "item_id", "log")

    def __init__(
        self,
        facts: RunFacts,
        *,
        bloc: str = "",
        item_id: str = "",
        data: Mapping[str, Any] | None = None,
        inputs: tuple[str, ...] = (),
        log: logging.Logger | None = None,
        view: Callable[[Any], Any] | None = None,
    ) -> None:
        self.facts = facts
        self.bloc = bloc
        self.item_id = item_id
        self.log = log or logging.getLogger(f"cableway.blocs.{bloc or 'run'}")
        self._inputs = inputs
        self._own: dict[str, Any] = dict(data or {})
        self._view = view
        self._views: dict[str, Any] = {}

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The run's parameters, defaults filled in."""
        return self.facts.parameters

    @property
    def scheduler_name(self) -> str | None:
        """The scheduler that made this run, if one did."""
        return self.facts.scheduler_name

    @property
    def trigger_name(self) -> str | None:
        """The trigger that made this run, if one did."""
        return self.facts.trigger_name

    @property
    def scheduled_at(self) -> str | None:
        """The instant (ISO 8601, UTC) at which the run was due, if it came from a schedule."""
        return self.facts.scheduled_at

    @property
    def output_dir(self) -> str | None:
        """The run's own directory for files, if one is configured."""
        return self.facts.output_dir

    @property
    def inputs(self) -> tuple[str, ...]:
        """The blocs whose data this bloc declared that it reads, in order."""
        return self._inputs

    def get_data(self, bloc_name: str) -> Any:
        """What *bloc_name* made, tabular data in the form that the bloc asks for.

        Raise `MissingDataError` naming what there is instead.
        """
        try:
            return self._own[bloc_name] if self._view is None else self._viewed(bloc_name, self._view)
        except KeyError:
            there = ", ".join(sorted(self._own)) or "nothing"
            raise MissingDataError(
                f"bloc {self.bloc!r} has no data of {bloc_name!r}; there is: {there}. "
                f"Name it in the bloc's 'inputs' or 'source_bloc'."
            ) from None

    def has_data(self, bloc_name: str) -> bool:
        """Whether `get_data` would give something."""
        return bloc_name in self._own

    def set_data(self, bloc_name: str, value: Any) -> None:
        """Keep *value* under *bloc_name* for the blocs that follow within this context."""
        self._own[bloc_name] = value
        self._views.pop(bloc_name, None)

    def _viewed(self, bloc_name: str, view: Callable[[Any], Any]) -> Any:
        """Converted once, however often it is asked for."""
        if bloc_name not in self._views:
            self._views[bloc_name] = view(self._own[bloc_name])
        return self._views[bloc_name]

    def input(self) -> Any:
        """The data of the one declared input. Raise `MissingDataError` where there is none or more than one."""
        if len(self._inputs) != 1:
            raise MissingDataError(
                f"bloc {self.bloc!r} has {len(self._inputs)} inputs ({', '.join(self._inputs) or 'none'}); "
                "say which one with 'source_bloc'."
            )
        return self.get_data(self._inputs[0])
