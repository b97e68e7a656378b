"""The bloc ``python``: a user's function, and which functions it may be."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from cableway.blocs.python_function import PythonBloc, PythonConfig, call
from cableway.catalog import Catalog
from tests.unit.blocs.contexts import context_of

MODULE = "tests.unit.blocs.functions"


def python(function: str, frames: Any = "pandas", **arguments: Any) -> PythonBloc:
    return PythonBloc("mine", PythonConfig(function=f"{MODULE}:{function}", arguments=arguments, frames=frames))


def test_it_gets_a_frame_its_arguments_and_the_context() -> None:
    bloc = python("doubled", column="w")
    frame = bloc.transform(context_of(bloc, {"source": [{"v": 1, "w": 2}]}))
    assert frame.to_dict("records") == [{"v": 1, "w": 4, "item": "0:0:0"}]


def test_what_is_no_table_comes_as_it_is_and_so_does_every_table_if_asked() -> None:
    bloc = python("several", frames="as_is")
    assert list(bloc.transform(context_of(bloc, {"source": 7}))) == [7, 7]
    rows = [{"v": 1}]
    bloc = python("joined", frames="as_is")
    assert bloc.transform(context_of(bloc, {"a": rows, "b": rows})) == [*rows, *rows]


async def test_a_coroutine_function_gives_what_can_be_awaited() -> None:
    bloc = python("later", more=2)
    result = bloc.transform(context_of(bloc, {"source": 5}))
    assert inspect.isawaitable(result)
    assert await result == 7


def test_the_interpreter_lane_calls_it_without_the_bloc() -> None:
    bloc = python("several", frames="as_is")
    config: dict[str, Any] = {"function": f"{MODULE}:several", "arguments": {}}
    assert list(call(config, context_of(bloc, {"source": "x"}))) == ["x", "x"]


@pytest.mark.fault("F4")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("os:system", "names the module 'os', which CABLEWAY_BLOCS does not"),
        ("builtins:eval", "names the module 'builtins'"),
        ("subprocess:run", "names the module 'subprocess'"),
        (f"{MODULE}x:later", f"names the module '{MODULE}x'"),
        ("../../x", "must be module:name"),
        (f"{MODULE}:__import__('os')", "must be module:name"),
        (f"{MODULE}:nowhere", "has no 'nowhere'"),
        (f"{MODULE}.none:x", "cannot be imported"),
    ],
)
def test_only_what_the_operator_names_may_be_called(path: str, reason: str) -> None:
    (fault,) = Catalog((MODULE,)).normalise("python", {"function": path})[1]
    assert (fault.pointer, reason in fault.message) == ("/function", True), fault.message


def test_a_function_of_a_named_module_is_taken() -> None:
    assert Catalog((MODULE,)).normalise("python", {"function": f"{MODULE}:later"})[1] == []
    assert Catalog(("tests.unit",)).normalise("python", {"function": f"{MODULE}:later"})[1] == []
    (fault,) = Catalog((MODULE,)).normalise("python", {"function": f"{MODULE}:later", "arguments": {"context": 1}})[1]
    assert fault.pointer == "/arguments/context"
