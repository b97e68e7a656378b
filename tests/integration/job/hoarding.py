"""A loader that takes every handle the process may have."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from cableway.blocs.kinds import Ending, LoaderBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class HoarderConfig:
    after: str
    """The file that what is given first becomes."""
    batch_size: int = 1


class HoarderBloc(LoaderBloc):
    bloc_type = "hoarder"
    summary = "Gives one item before all handles are taken, and one after."
    Config = HoarderConfig
    example: ClassVar[Mapping[str, Any]] = {"after": "first.csv"}

    config: HoarderConfig

    def __init__(self, name: str, config: HoarderConfig) -> None:
        super().__init__(name, config)
        self._held: list[BinaryIO] = []

    lanes = ("thread",)

    def load(self, context: RunContext) -> Iterator[tuple[str, Any]]:
        yield "first", [{"n": 1}]
        until = time.monotonic() + 20
        while not Path(self.config.after).exists() and time.monotonic() < until:
            time.sleep(0.01)
        try:
            while True:
                self._held.append(open("/dev/null", "rb"))  # noqa: SIM115, PTH123 - they have to stay open
        except OSError:
            yield "second", [{"n": 2}]

    def close(self, ending: Ending) -> None:
        for handle in self._held:
            handle.close()


class GreedyBloc(HoarderBloc):
    """Leaves nothing for whoever works on what it gives."""

    bloc_type = "greedy"

    def load(self, context: RunContext) -> Iterator[tuple[str, Any]]:
        with suppress(OSError):
            while True:
                self._held.append(open("/dev/null", "rb"))  # noqa: SIM115, PTH123 - they have to stay open
        yield "only", [{"n": 1}]


BLOCS = [HoarderBloc, GreedyBloc]
