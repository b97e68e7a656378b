"""``example_transformer``: multiplies numbers, and shows how small a transformer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleTransformerConfig:
    """By how much."""

    factor: float = 1.0
    """What every number is multiplied by."""
    source_bloc: str | None = None
    """The bloc whose data is multiplied; unset: the one of the previous stage."""


class ExampleTransformerBloc(TransformerBloc):
    """Gets a DataFrame of its own, changes it, and hands it on."""

    bloc_type = "example_transformer"
    summary = "Multiplies every numeric column by a factor."
    Config = ExampleTransformerConfig
    example: ClassVar[Mapping[str, Any]] = {"factor": 2}
    lanes = ("thread", "process", "dask")

    config: ExampleTransformerConfig

    def transform(self, context: RunContext) -> Any:
        """The input with its numbers multiplied; whole numbers stay whole where the factor is."""
        frame = context.input()
        factor = int(self.config.factor) if float(self.config.factor).is_integer() else self.config.factor
        numeric = frame.select_dtypes("number").columns
        frame[numeric] = frame[numeric] * factor
        return frame
