"""``pass_through``: hands on what it gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs.kinds import TransformerBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class PassThroughConfig:
    """Nothing has to be said."""

    source_bloc: str | None = None
    """The bloc whose data is handed on; unset: the one of the previous stage."""


class PassThroughBloc(TransformerBloc):
    """Good for trying a pipeline out, and for measuring what everything around the work costs."""

    bloc_type = "pass_through"
    summary = "Hands on what it gets, unchanged."
    Config = PassThroughConfig
    example: ClassVar[Mapping[str, Any]] = {}
    lanes = ("async", "thread", "process", "dask")
    frames = None

    async def transform(self, context: RunContext) -> Any:
        """The input; None in a stage that has nothing before it."""
        return context.input() if context.inputs else None
