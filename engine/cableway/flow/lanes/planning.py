"""What a pool's workers are told before their first unit, and what is said when they cannot do it."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from cableway.errors import DefinitionError
from cableway.flow.lanes.loading import Built, Plan, main_origin
from cableway.flow.lanes.protocol import HandlerFactory

if TYPE_CHECKING:
    from cableway.flow.lanes.failure import Failure
    from cableway.flow.lanes.protocol import PoolConfig


def planned(config: PoolConfig, lane: str, handler: bytes | None = None, setup: bytes | None = None) -> Plan:
    """Return what a worker is told; *handler* and *setup* are their pickles where those are known already.

    Raise `DefinitionError` when the handler or the setup cannot be sent to a worker.
    """
    main_path, main_name = main_origin()
    if setup is None and config.setup is not None:
        setup = pickled(config, config.setup, lane)
    sys.modules.setdefault("__mp_main__", sys.modules["__main__"])  # results name the workers' main module so
    return Plan(
        stage=config.stage,
        bloc=config.bloc,
        handler=pickled(config, config.handler, lane) if handler is None else handler,
        setup=setup,
        worker_hook=config.worker_hook,
        wants_metadata=wants_metadata(config),
        max_item_bytes=config.max_item_bytes,
        sys_path=list(sys.path),
        argv=list(sys.argv),
        main_path=main_path,
        main_name=main_name,
    )


def wants_metadata(config: PoolConfig) -> bool:
    """Whether the handler takes the item's metadata as its third argument."""
    handler = config.handler
    return config.wants_metadata or (isinstance(handler, HandlerFactory) and handler.wants_metadata)


def pickled(config: PoolConfig, handler: Any, lane: str) -> bytes:
    """Return the handler as workers find it again, by name. Raise `DefinitionError` when it has none."""
    if isinstance(handler, HandlerFactory):
        handler = Built(handler.path, handler.args)
    try:
        return pickle.dumps(handler, 5)
    except Exception as error:
        raise DefinitionError(
            f"stage {config.stage!r}: {name_of(handler)} cannot be sent to the {lane} lane ({error}); "
            "define it at the top of a module"
        ) from error


def refusal(config: PoolConfig, lane: str, failure: Failure) -> DefinitionError:
    """Return the error for a handler that did not load in its worker."""
    return DefinitionError(
        f"stage {config.stage!r}: {name_of(config.handler)} does not load in the {lane} lane: "
        f"{failure.error_type}: {failure.message}"
    )


def name_of(handler: Any) -> str:
    """Return what a person calls the handler."""
    if isinstance(handler, HandlerFactory | Built):
        return handler.path
    return f"{getattr(handler, '__module__', '?')}:{getattr(handler, '__qualname__', repr(handler))}"
