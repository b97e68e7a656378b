"""Contexts and types for tests of blocs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pydantic

from cableway.blocs.kinds import Bloc, Frames, TransformerBloc
from cableway.blocs.tables import view_of
from cableway.context import RunContext, RunFacts

FACTS = RunFacts(run_id="run-1", pipeline="p", line="line-1", lease_token=1)


def context_of(bloc: Bloc, data: Mapping[str, Any] | None = None, item_id: str = "0:0:0") -> RunContext:
    """What *bloc* sees of *data*, all of which it declared."""
    given = dict(data or {})
    return RunContext(FACTS, bloc=bloc.name, item_id=item_id, data=given, inputs=tuple(given), view=view_of(bloc))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesConfig:
    """A config for tests."""

    by: int = 2
    """By how much."""


class TimesBloc(TransformerBloc):
    """A bloc of a user's own."""

    bloc_type = "times"
    summary = "Multiplies."
    Config = TimesConfig
    example: ClassVar[Mapping[str, Any]] = {"by": 3}
    frames: ClassVar[Frames | None] = None

    config: TimesConfig

    def transform(self, context: RunContext) -> Any:
        return context.input() * self.config.by


@dataclass(frozen=True, slots=True, kw_only=True)
class TimesAndMoreConfig(TimesConfig):
    """A config that inherits."""

    more: bool = False
    """Whether the next one follows."""


class TimesAndMoreBloc(TimesBloc):
    """A bloc of a user's own, made from another."""

    bloc_type = "times_and_more"
    Config = TimesAndMoreConfig


class StrictConfig(pydantic.BaseModel):
    """A pydantic model as a config."""

    model_config = pydantic.ConfigDict(extra="forbid")

    token: pydantic.SecretStr = pydantic.Field(description="A secret.")
    size: int = pydantic.Field(default=1, description="A size.")


class CountingBloc(TransformerBloc):
    """Opens asynchronously, and gives several values for one."""

    bloc_type = "counting"
    summary = "Counts up."
    Config = StrictConfig
    example: ClassVar[Mapping[str, Any]] = {"token": "t"}
    frames: ClassVar[Frames | None] = None

    config: StrictConfig
    opened = False

    async def open(self, context: RunContext) -> None:
        await asyncio.sleep(0)
        self.opened = True

    async def transform(self, context: RunContext) -> AsyncIterator[int]:
        async def numbers() -> AsyncIterator[int]:
            assert self.opened
            for number in range(self.config.size):
                await asyncio.sleep(0)
                yield number

        return numbers()


def plain_worker(config: dict[str, Any], context: RunContext) -> Any:
    """What the interpreter lane calls."""
    return context.input() + config["more"]
