"""``python``: a function of the user's own, in any lane."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen

from cableway.blocs.kinds import TransformerBloc
from cableway.blocs.tables import is_tabular, to_arrow, to_pandas
from cableway.context import RunContext
from cableway.errors import DefinitionError

_VIEWS: Mapping[str, Any] = {"pandas": to_pandas, "arrow": to_arrow}


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonConfig:
    """Which function, and what it gets beside the data."""

    function: Annotated[str, MinLen(3)]
    """``module:name``. The module, or a package above it, has to be one that ``CABLEWAY_BLOCS`` names."""
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """Given to the function by name."""
    frames: Literal["pandas", "arrow", "as_is"] = "pandas"
    """What tabular data arrives as."""
    source_bloc: str | None = None
    """The bloc whose data it gets; unset: the one of the previous stage. For several, name ``inputs`` in the entry."""


class PythonBloc(TransformerBloc):
    """Calls the function with the data of each input, in order.

    A parameter named ``context`` gets the `RunContext`. The function may be a coroutine function or a generator,
    and returns what any transformer returns. In the interpreter lane, data comes as it is.
    """

    bloc_type = "python"
    summary = "Calls a Python function of yours with the item's data."
    Config = PythonConfig
    example: ClassVar[Mapping[str, Any]] = {"function": "cableway.examples:rounded", "arguments": {"digits": 1}}
    worker = "cableway.blocs.python_function:call"
    frames = None

    config: PythonConfig

    def __init__(self, name: str, config: PythonConfig) -> None:
        super().__init__(name, config)
        self._function = function_at(config.function)
        self._wants_context = wants_context(self._function)

    @classmethod
    def code_paths(cls, config: PythonConfig) -> Iterable[tuple[str, str]]:
        """The function."""
        yield "function", config.function

    @classmethod
    def faults(cls, config: PythonConfig) -> Iterable[tuple[str, str]]:
        """An argument that the job itself gives."""
        if "context" in config.arguments:
            yield "arguments/context", "is given by the job; call the argument otherwise"

    def transform(self, context: RunContext) -> Any:
        """What the function returns."""
        view = _VIEWS.get(self.config.frames)
        inputs = [context.get_data(name) for name in context.inputs]
        if view is not None:
            inputs = [view(value) if is_tabular(value) else value for value in inputs]
        more = {"context": context} if self._wants_context else {}
        return self._function(*inputs, **self.config.arguments, **more)


def function_at(path: str) -> Any:
    """What stands at *path*. Raise `DefinitionError` where there is nothing, or nothing that can be called."""
    module, _, name = path.partition(":")
    try:
        function: Any = import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise DefinitionError(f"there is no function {path!r}: {error}") from None
    if not callable(function):
        raise DefinitionError(f"{path!r} is no function")
    return function


def wants_context(function: Any) -> bool:
    """Whether it has a parameter of that name."""
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a builtin
        return False


def call(config: dict[str, Any], context: RunContext) -> Any:
    """What the interpreter lane calls: the same, with data as it is."""
    function = function_at(config["function"])
    more = {"context": context} if wants_context(function) else {}
    return function(*(context.get_data(name) for name in context.inputs), **config["arguments"], **more)
