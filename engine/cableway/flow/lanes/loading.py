"""
How a worker becomes able to run its handler: paths and arguments as in the parent, then the handler itself.

Imported in workers, so it imports little.
"""

from __future__ import annotations

import os
import pickle
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from cableway.flow.lanes.failure import unloadable_module

if TYPE_CHECKING:
    from collections.abc import Callable


class Plan(NamedTuple):
    """What a worker is told before its first unit.

    ``handler`` and ``setup`` are pickles. For a worker interpreter ``code`` is a self-contained
    function's own code, for when its module does not load there, and ``probes`` are the modules
    that the function imports when it runs.
    """

    stage: str
    bloc: str
    handler: bytes
    setup: bytes | None
    worker_hook: str | None
    wants_metadata: bool
    max_item_bytes: int | None
    sys_path: list[str]
    argv: list[str]
    main_path: str | None
    main_name: str | None
    isolated: bool = False
    code: bytes | None = None
    probes: tuple[str, ...] = ()


class Built(NamedTuple):
    """A handler that is made in the worker: what `HandlerFactory` says, without its class."""

    path: str
    args: tuple[Any, ...]


class _LazyMain(ModuleType):
    """Stands for the user's main script and runs it, as ``__mp_main__``, when something of it is asked for."""

    def __init__(self, path: str | None, name: str | None) -> None:
        super().__init__("__main__")
        self._path = path
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._load(), name)

    def _load(self) -> ModuleType:
        import runpy

        module = ModuleType("__mp_main__")
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
        if self._name is not None:
            content = runpy.run_module(self._name, run_name="__mp_main__", alter_sys=True)
        elif self._path is not None:
            content = runpy.run_path(self._path, run_name="__mp_main__")
        else:
            raise AttributeError("the parent's main module is not a file, so nothing of it can be imported")
        module.__dict__.update(content)
        # Running it put a module of its own there for the while.
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
        return module


def adopt(plan: Plan) -> None:
    """Make this worker see the modules and arguments that its parent sees."""
    sys.path[:] = plan.sys_path
    sys.argv[:] = plan.argv
    sys.modules["__main__"] = sys.modules["__mp_main__"] = _LazyMain(plan.main_path, plan.main_name)


def load(plan: Plan, shared: dict[str, Any]) -> Callable[..., Any]:
    """Run the setup and return the handler. Raise whatever importing or building it raises."""
    if plan.setup is not None:
        pickle.loads(plan.setup)()
    for module in plan.probes:
        _probe(module)
    handler: Any = _loaded(plan)
    if isinstance(handler, Built):
        handler = resolve(handler.path)(*handler.args, shared)
    return cast("Callable[..., Any]", handler)


def _loaded(plan: Plan) -> Any:
    """Return the handler as its module has it; where the module does not load, made of its own code."""
    if plan.code is None:
        return pickle.loads(plan.handler)
    try:
        return pickle.loads(plan.handler)
    except Exception:
        return function_of(plan.code)


def function_of(code: bytes) -> Any:
    """Return the function whose code and defaults stand in *code*; it sees the builtins and itself, nothing else."""
    import marshal
    from types import FunctionType

    body, name, defaults, keyword_defaults = pickle.loads(code)
    seen: dict[str, Any] = {"__name__": "__handler__"}
    function = FunctionType(marshal.loads(body), seen, name, defaults)  # noqa: S302 - our own
    seen[name] = function
    function.__kwdefaults__ = keyword_defaults
    return function


def _probe(module: str) -> None:
    """Raise what importing *module* raises when it can never load in a subinterpreter; else say nothing yet."""
    from importlib import import_module

    try:
        import_module(module)
    except Exception as error:
        if unloadable_module(error) is not None:
            raise


def resolve(path: str) -> Any:
    """Return what ``module:name`` names. Raise `ImportError` or `AttributeError` when it is not there."""
    from importlib import import_module

    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def main_origin() -> tuple[str | None, str | None]:
    """Return the path and the module name of this process's main script, for its workers; None where it has none."""
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        # A package's __main__ is its command and seldom guarded: it is not run again.
        return None, None if name == "__main__" or name.endswith(".__main__") else name
    path = getattr(main, "__file__", None)
    return (os.path.abspath(path) if path else None), None  # noqa: PTH100 - pathlib is not loaded in workers
