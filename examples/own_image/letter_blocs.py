"""Two bloc types of our own: one that needs a package, and one that writes where a database would be too much."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jinja2 import Environment, StrictUndefined, TemplateError

from cableway.blocs.kinds import ExporterBloc, TransformerBloc
from cableway.context import RunContext

# What is sent as text needs no HTML's escapes.
_ENVIRONMENT = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateConfig:
    """What is written."""

    text: str
    """A Jinja template that is given each row's columns by name."""
    source_bloc: str | None = None
    """The bloc whose rows are written; unset: the one of the previous stage."""


class TemplateBloc(TransformerBloc):
    """An Arrow table comes in, and a list of lines goes on."""

    bloc_type = "template"
    summary = "Makes a line of each row, from a template."
    Config = TemplateConfig
    example: ClassVar[Mapping[str, Any]] = {"text": "Dear {{ name }}"}
    lanes = ("thread", "process")
    frames = "arrow"
    config: TemplateConfig

    @classmethod
    def faults(cls, config: TemplateConfig) -> Iterable[tuple[str, str]]:
        """A template that does not parse is a fault of the definition, before anything runs."""
        try:
            _ENVIRONMENT.parse(config.text)
        except TemplateError as error:
            yield "text", f"is no template: {error}"

    def transform(self, context: RunContext) -> list[str]:
        """The rows as lines. A name that no column has fails the item."""
        template = _ENVIRONMENT.from_string(self.config.text)
        return [template.render(row) for row in context.input().to_pylist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintLinesConfig:
    """Nothing has to be said."""

    source_bloc: str | None = None
    """The bloc whose lines are printed; unset: the one of the previous stage."""


class PrintLinesBloc(ExporterBloc):
    """Stands for whatever takes the lines away."""

    bloc_type = "print_lines"
    summary = "Prints lines on stdout."
    Config = PrintLinesConfig
    example: ClassVar[Mapping[str, Any]] = {}

    def export(self, context: RunContext) -> int:
        """Print the item's lines."""
        lines: list[str] = context.input()
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return len(lines)
