"""
What a worker interpreter is told: the handler by name, and its own code for when its module does not load there.

A function is self-contained when it uses nothing of its module: no globals but builtins, no closure.
"""

from __future__ import annotations

import builtins
import dis
import marshal
import pickle
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from cableway.errors import DefinitionError
from cableway.flow.lanes.planning import name_of, pickled, planned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cableway.flow.lanes.loading import Plan
    from cableway.flow.lanes.protocol import PoolConfig

_LANE = "interpreter"
_GIVEN = frozenset(dir(builtins)) | {"__name__", "__builtins__"}


def interpreter_plan(config: PoolConfig) -> Plan:
    """Return what a worker interpreter is told. Raise `DefinitionError` when the handler cannot be sent there."""
    handler = config.handler
    code = own_code(handler)
    # Rather its code than running the whole main script there.
    alone = code is not None and getattr(handler, "__module__", None) == "__main__"
    by_name = b"" if alone else _by_name(config, code)
    plan = planned(config, _LANE, by_name)
    probes = tuple(dict.fromkeys(imported(handler.__code__))) if isinstance(handler, FunctionType) else ()
    return plan._replace(isolated=True, code=code, probes=probes)


def own_code(handler: Any) -> bytes | None:
    """Return what `function_of` makes the function from, or None when it is not a self-contained one."""
    if not isinstance(handler, FunctionType) or handler.__code__.co_freevars:
        return None
    if any(name not in _GIVEN and name != handler.__name__ for name in _global_names(handler.__code__)):
        return None
    try:
        code = marshal.dumps(handler.__code__)
        return pickle.dumps((code, handler.__name__, handler.__defaults__, handler.__kwdefaults__), 5)
    except Exception:
        return None


def imported(code: CodeType) -> Iterator[str]:
    """Yield the modules that *code* imports by absolute name, functions inside it included."""
    before: list[Any] = [None, None]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME" and before[0] == 0:
            yield str(instruction.argval)
        before = [before[1], instruction.argval]
    for inner in _inner(code):
        yield from imported(inner)


def _global_names(code: CodeType) -> Iterator[str]:
    own: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            own.add(instruction.argval)
        elif instruction.opname in {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"} or (
            instruction.opname == "LOAD_NAME" and instruction.argval not in own
        ):
            yield instruction.argval
    for inner in _inner(code):
        yield from _global_names(inner)


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _by_name(config: PoolConfig, code: bytes | None) -> bytes:
    try:
        return pickled(config, config.handler, _LANE)
    except DefinitionError:
        if code is not None:
            return b""
        closure = getattr(getattr(config.handler, "__code__", None), "co_freevars", ())
        if not closure:
            raise
        raise DefinitionError(
            f"stage {config.stage!r}: {name_of(config.handler)} cannot be sent to the {_LANE} lane: it closes over "
            f"{', '.join(closure)}; define it at the top of a module, or take what it needs from the item"
        ) from None
