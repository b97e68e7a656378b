"""``filter``: the rows for which conditions hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.shaping.conditions import Condition, mask_of
from cableway.blocs.tables import library, require_columns
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """What rows have to be like."""

    where: list[Condition] = field(default_factory=list[Condition])
    """All of these hold."""
    any_of: list[Condition] = field(default_factory=list[Condition])
    """And at least one of these, where there are any."""
    source_bloc: str | None = None
    """The bloc whose data it is; unset: the one of the previous stage."""


class FilterBloc(TransformerBloc):
    """Keeps rows in their order. A comparison with a missing value does not hold: such rows go."""

    bloc_type = "filter"
    summary = "Keeps the rows for which conditions hold."
    Config = FilterConfig
    example: ClassVar[Mapping[str, Any]] = {"where": [{"column": "dep_delay", "op": ">", "value": 15}]}
    lanes = ("thread", "process", "dask")
    frames = "arrow"

    config: FilterConfig

    def __init__(self, name: str, config: FilterConfig) -> None:
        super().__init__(name, config)
        self._where = [Condition.of(each) for each in config.where]
        self._any_of = [Condition.of(each) for each in config.any_of]

    @classmethod
    def faults(cls, config: FilterConfig) -> Iterable[tuple[str, str]]:
        """No condition at all, or one that no value could meet."""
        if not (config.where or config.any_of):
            yield "where", "no condition is given"
        for name, conditions in (("where", config.where), ("any_of", config.any_of)):
            for number, condition in enumerate(conditions):
                if reason := condition.fault():
                    yield f"{name}/{number}/value", reason

    def transform(self, context: RunContext) -> Any:
        """The rows that are kept. Raise `MissingDataError` or `DefinitionError` naming the condition at fault."""
        pc = library("pyarrow.compute")
        table = context.input()
        require_columns(table, [each.column for each in [*self._where, *self._any_of]], self.name)
        mask: Any = None
        for number, condition in enumerate(self._where):
            found = mask_of(table, condition, f"bloc {self.name!r}, where/{number}")
            mask = found if mask is None else pc.and_kleene(mask, found)
        either: Any = None
        for number, condition in enumerate(self._any_of):
            found = mask_of(table, condition, f"bloc {self.name!r}, any_of/{number}")
            either = found if either is None else pc.or_kleene(either, found)
        if either is not None:
            mask = either if mask is None else pc.and_kleene(mask, either)
        return table.filter(mask)
