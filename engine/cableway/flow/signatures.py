"""Whether a handler fits its lane, said at registration and not at the first item."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from cableway.flow.config import ExecutionType
from cableway.flow.lanes.protocol import HandlerFactory


def wants_metadata(stage: str, lane: ExecutionType, handler: Any) -> bool:
    """Raise `TypeError` unless *handler* fits *lane*; tell whether a child's handler takes the metadata too."""
    if isinstance(handler, HandlerFactory):
        return handler.wants_metadata
    if not callable(handler):
        raise TypeError(f"stage {stage!r}: the handler must be callable, not {type(handler).__name__}")
    _check_colour(stage, lane, handler)
    return _check_in_child(stage, lane, handler) if lane.in_child else _check_item(stage, lane, handler)


def _check_colour(stage: str, lane: ExecutionType, handler: Callable[..., Any]) -> None:
    is_async = _is_async(handler)
    if lane is ExecutionType.ASYNC and not is_async:
        raise TypeError(
            f"stage {stage!r}: the async lane needs `async def {_name(handler)}(item)`; "
            f"a function that blocks belongs in the thread lane"
        )
    if lane is not ExecutionType.ASYNC and is_async:
        raise TypeError(f"stage {stage!r}: the {lane} lane needs a plain `def`, and {_name(handler)} is async")


def _check_item(stage: str, lane: ExecutionType, handler: Callable[..., Any]) -> bool:
    if not _takes(handler, 1):
        raise TypeError(
            f"stage {stage!r}: in the {lane} lane a handler takes the item alone, "
            f"{_name(handler)}(item); this one is {_name(handler)}{_signature(handler)}"
        )
    return False


def _check_in_child(stage: str, lane: ExecutionType, handler: Callable[..., Any]) -> bool:
    if lane is ExecutionType.PROCESS and "<" in getattr(_core(handler), "__qualname__", ""):
        raise TypeError(
            f"stage {stage!r}: a process handler is found by its name, so it must stand at the top of its module; "
            f"{_name(handler)} is a lambda or stands in a function"
        )
    with_metadata = _third_is_metadata(handler)
    if not _takes(handler, 3 if with_metadata else 2):
        raise TypeError(
            f"stage {stage!r}: in the {lane} lane a handler takes {_name(handler)}(job_id, data) or "
            f"{_name(handler)}(job_id, data, metadata); this one is {_name(handler)}{_signature(handler)}"
        )
    return with_metadata


def _third_is_metadata(handler: Callable[..., Any]) -> bool:
    signature = _signature(handler)
    if signature is None:
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]
    if len(positional) < 3:
        return False
    third = positional[2]
    return third.name == "metadata" or third.default is inspect.Parameter.empty


def _takes(handler: Callable[..., Any], count: int) -> bool:
    signature = _signature(handler)
    if signature is None:
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _signature(handler: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(handler)
    except (TypeError, ValueError):  # some built-ins have none
        return None


def _core(handler: Any) -> Any:
    while isinstance(handler, partial):
        handler = handler.func
    return handler


def _is_async(handler: Any) -> bool:
    core = _core(handler)
    candidates: tuple[Any, ...] = (core, inspect.getattr_static(core.__class__, "__call__", None))
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in candidates)


def _name(handler: Any) -> str:
    core = _core(handler)
    return str(getattr(core, "__name__", type(core).__name__))
