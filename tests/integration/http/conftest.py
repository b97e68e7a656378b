"""Blocs that are open, over servers of the test's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cableway.blocs.http.speaking import SpeakingBloc
from cableway.blocs.kinds import Ending, Resources
from cableway.catalog import Catalog
from cableway.definition import BlocDefinition
from cableway.settings import HttpSettings
from tests.unit.blocs.contexts import context_of

HERE = HttpSettings(allow=("127.0.0.1",))
QUICK = {"wait_s": 0.001, "max_wait_s": 0.01}


@asynccontextmanager
async def opened(
    bloc_type: str, settings: HttpSettings = HERE, *, checked: bool = True, **config: Any
) -> AsyncGenerator[Any]:
    """The bloc as a job builds it, open; waits between repetitions are short where the config does not say."""
    options = {**QUICK, **config.pop("http", {})}
    catalog = Catalog()
    written, faults = catalog.normalise(bloc_type, {**config, "http": options})
    assert faults == []
    bloc = catalog.build(BlocDefinition(name="b", bloc_type=bloc_type, config=written), checked=checked)
    assert isinstance(bloc, SpeakingBloc)
    bloc.bind(Resources(http=settings))
    await bloc.open(context_of(bloc))
    try:
        yield bloc
    finally:
        await bloc.close(Ending.SUCCEEDED)


async def whole(bloc: Any) -> list[Any]:
    """What an unbatched loader gives."""
    records: list[Any] = await bloc.load(context_of(bloc))
    return records


async def items(bloc: Any) -> list[tuple[str, Any]]:
    """What a batched loader gives."""
    return [pair async for pair in bloc.load(context_of(bloc))]


Opened = Callable[..., Any]


@pytest.fixture(autouse=True)
def _nothing_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test guards is not masked in another."""
    from cableway import redaction

    monkeypatch.setattr(redaction, "_guarded", redaction.Guarded())
