from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest

from cableway.blocs.worker import build
from cableway.context import MissingDataError
from cableway.errors import DefinitionError
from tests.unit.blocs.contexts import FACTS

CONTEXTS = "tests.unit.blocs.contexts"


def built(
    name: str, config: dict[str, Any], shared: Mapping[str, Any] | None = None, inputs: tuple[str, ...] = ("a",)
) -> Any:
    return build(f"{CONTEXTS}:{name}", "bloc", config, asdict(FACTS), inputs, {} if shared is None else shared)


def test_a_bloc_is_built_once_and_called_for_each_unit() -> None:
    handle = built("TimesBloc", {"by": 3})
    assert [handle("1", {"a": 5}), handle("2", {"a": 6})] == [15, 18]


def test_what_the_item_lacks_comes_from_what_is_shared() -> None:
    shared: dict[str, Any] = {}
    handle = built("TimesBloc", {"by": 2}, shared)
    with pytest.raises(MissingDataError):
        handle("1", {})
    shared["a"] = 7
    assert handle("2", {}) == 14
    assert handle("3", {"a": 1}) == 2


def test_an_async_bloc_works_in_a_child() -> None:
    handle = built("CountingBloc", {"token": "t", "size": 3}, inputs=())
    assert list(handle("1", {})) == [0, 1, 2]


def test_a_plain_function_gets_config_and_context() -> None:
    assert built("plain_worker", {"more": 4})("1", {"a": 1}) == 5


def test_a_path_that_leads_nowhere_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"a worker cannot import tests\.unit\.blocs\.contexts:Gone"):
        built("Gone", {})


def test_a_child_loads_nothing_heavy() -> None:
    program = """
import sys
from cableway.blocs.worker import build
build("cableway.blocs.pass_through:PassThroughBloc", "b", {}, {"run_id": "r", "pipeline": "p"}, (), {})("1", {})
heavy = {"pydantic", "pandas", "numpy", "pyarrow", "psycopg"}
print(sorted(name for name in sys.modules if name.split(".")[0] in heavy))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
