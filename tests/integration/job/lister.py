"""A bloc that tells what its process has loaded."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cableway.blocs.kinds import Ending, ExporterBloc
from cableway.context import RunContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModulesConfig:
    """Nothing has to be said."""


class ListModules(ExporterBloc):
    bloc_type = "list_modules"
    summary = "Tells what is loaded when it is closed."
    Config = ListModulesConfig
    example: ClassVar[Mapping[str, Any]] = {}
    frames = None

    def __init__(self, name: str, config: ListModulesConfig) -> None:
        super().__init__(name, config)
        self._loaded: list[str] = []

    async def export(self, context: RunContext) -> int:
        return 1

    async def close(self, ending: Ending) -> None:
        self._loaded = sorted(sys.modules)

    def outputs(self) -> dict[str, Any]:
        return {"modules": self._loaded}
