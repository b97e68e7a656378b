"""Bloc types as somebody would write them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs.kinds import Ending, ExporterBloc, LoaderBloc, TransformerBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersConfig:
    """How many."""

    count: int = 3
    batch_size: int | None = None


class NumbersLoader(LoaderBloc):
    """Counts."""

    bloc_type = "numbers"
    summary = "Counts."
    Config = NumbersConfig
    example: ClassVar[Mapping[str, Any]] = {}
    config: NumbersConfig
    closed: ClassVar[list[Ending]] = []

    def open(self, context: RunContext) -> None:
        time.sleep(0.05)  # as a connection would take

    def close(self, ending: Ending) -> None:
        self.closed.append(ending)

    def load(self, context: RunContext) -> Any:
        rows = [{"n": number} for number in range(self.config.count)]
        size = self.config.batch_size
        return rows if size is None else self._batches(rows, size)

    def _batches(self, rows: list[dict[str, int]], size: int) -> Iterator[tuple[str, Any]]:
        for start in range(0, len(rows), size):
            yield str(start), rows[start : start + size]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowConfig:
    """How slow."""

    pause_s: float = 0.0
    fails_on: int | None = None


class SlowTransformer(TransformerBloc):
    """Takes its time."""

    bloc_type = "slow"
    summary = "Takes its time."
    Config = SlowConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None
    config: SlowConfig

    async def transform(self, context: RunContext) -> Any:
        await asyncio.sleep(self.config.pause_s)
        rows = context.input()
        if any(row["n"] == self.config.fails_on for row in rows):
            raise ValueError("not this one")
        factor = context.parameters.get("factor", 1)
        return [{"n": row["n"] * factor} for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterConfig:
    """Nothing has to be said."""


class Writer(ExporterBloc):
    """Would write."""

    bloc_type = "writer"
    summary = "Would write."
    Config = WriterConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None
    kept: ClassVar[list[Any]] = []

    def export(self, context: RunContext) -> int:
        self.kept.append(context.input())
        return len(context.input())
