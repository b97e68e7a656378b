"""Our small judge beside pydantic, by the schemas that pydantic makes."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import pytest
from annotated_types import Ge, Gt, Interval, Len, MultipleOf
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cableway.blocs import AggregateBloc, CsvLoaderBloc, ExampleTransformerBloc, PassThroughBloc, PostgresExporterBloc
from cableway.definitions.configs import adapter_of, config_faults, written_out
from cableway.definitions.json_schema import fitted


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: Annotated[int, Ge(1)]
    note: str = "none"


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: Annotated[str, Len(1, 5)]
    inner: Inner = Inner(size=3)
    inners: tuple[Inner, ...] = ()
    share: Annotated[float, Gt(0), Interval(le=1)] | None = None
    number: int | float = 0
    even: Annotated[int, MultipleOf(2)] = 2
    mode: Literal["a", "b", 3] = "a"
    colour: Colour = Colour.RED
    either: str | list[str] = "x"
    pair: tuple[int, str] = (1, "a")
    table: dict[str, float] = field(default_factory=dict[str, float])
    flag: bool = False


CONFIGS = [
    Outer,
    *(bloc.Config for bloc in (AggregateBloc, CsvLoaderBloc, ExampleTransformerBloc, PassThroughBloc)),
    PostgresExporterBloc.Config,
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 5)
    | st.floats(-2, 2)
    | st.sampled_from(["", "a", "b", "x", "red", "append", "longer than five", "${param:p}", "\N{BOM}"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "note", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)


def keys_of(config: type) -> list[str]:
    return [*getattr(config, "__annotations__", {}), "other"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[type, dict[str, Any]]:
    config = draw(st.sampled_from(CONFIGS))
    return config, draw(st.dictionaries(st.sampled_from(keys_of(config)), VALUES, max_size=4))


@settings(deadline=None)
@given(cases())
def test_it_takes_and_refuses_what_pydantic_does(case: tuple[type, dict[str, Any]]) -> None:
    config, value = case
    adapter: TypeAdapter[Any] = adapter_of(config)
    made, faults = config_faults(adapter, value)
    fitting, found = fitted(adapter.json_schema(), value)
    # Of a wrong value both say which key of the config it is about.
    assert {top(fault.pointer) for fault in found} == {top(fault.pointer) for fault in faults}
    if made is not None and not faults:
        by_pydantic = written_out(made, value)
        assert {key: plain(member) for key, member in fitting.items()} == {
            key: plain(member) for key, member in by_pydantic.items() if key in fitting
        }


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "string"}, 5, "must be a string"),
        ({"type": "integer"}, 5.5, "must be an integer"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", "must be an integer, or must be null"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, 0, "must be at least 1"),
        ({"enum": ["a", "b"]}, "c", "must be 'a' or 'b'"),
        ({"const": 1}, True, "must be 1"),
        ({"type": "string", "maxLength": 2}, "abc", "must have at most 2 characters"),
        ({"type": "array", "minItems": 1}, [], "must hold at least 1 values"),
        ({"type": "string", "pattern": "^a"}, "b", "must match ^a"),
        ({"allOf": [{"type": "number"}, {"maximum": 3}]}, 4, "must be at most 3"),
        ({"additionalProperties": False}, {"x": 1}, "is not known here"),
    ],
)
def test_a_fault_says_what_is_wanted_and_not_what_was_given(schema: dict[str, Any], value: Any, message: str) -> None:
    made, faults = fitted(schema, value)
    assert [fault.message for fault in faults] == [message]
    assert made == value


def test_what_it_does_not_know_passes() -> None:
    assert fitted({"type": "string", "format": "date", "x": 1}, "no date") == ("no date", [])
    assert fitted({}, {"a": [1]}) == ({"a": [1]}, [])


def top(pointer: str) -> str:
    return pointer.split("/")[1] if pointer else ""


def plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [plain(member) for member in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: plain(member) for key, member in cast("dict[str, Any]", value).items()}
    return (type(value), value) if isinstance(value, int | float) else value
