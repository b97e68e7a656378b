"""Scopes, keys and rates by themselves."""

from __future__ import annotations

import pytest

from cableway.errors import SettingsError
from cableway.store.executor import Row, Steps
from cableway_handlers.api.keys import Found, create_key, find_key
from cableway_handlers.api.rates import MAX_CALLERS, Rates
from cableway_handlers.api.scopes import Caller, checked_scopes


def caller(*scopes: str, pipelines: tuple[str, ...] | None = None) -> Caller:
    return Caller(name="x", scopes=frozenset(scopes), pipelines=pipelines)


def found(text: bytes, rows: list[Row]) -> Found | None:
    """What `find_key` makes of *rows*."""
    steps: Steps[Found | None] = find_key(text)
    try:
        next(steps)
        steps.send(rows)
    except StopIteration as end:
        result: Found | None = end.value
        return result
    raise AssertionError("it asks once")


def test_a_scope_reaches_as_far_as_it_says() -> None:
    assert caller("read").may("read", "runs")
    assert not caller("read").may("write", "runs")
    assert not caller("read").may("read", "stacks")
    assert caller("read:stacks").may("read", "stacks")
    assert not caller("read:runs").may("read", "blocs")
    assert caller("admin").may("read", "stacks")
    assert caller("admin").may("run", "schedulers")
    assert caller().sees("any")
    assert not caller(pipelines=("one",)).sees("other")


@pytest.mark.parametrize("scopes", [[], ["fly"], ["read:"], ["read:keys"], ["admin:runs"], ["READ"], [""]])
def test_what_is_no_scope(scopes: list[str]) -> None:
    with pytest.raises(SettingsError, match="a scope is read, write, run or admin"):
        checked_scopes(scopes)


@pytest.mark.fault("E17")
@pytest.mark.parametrize("text", [b"", b"cw_", b"x" * 1_000_000, b"cw_" + b"0" * 12 + b"_" + b"x" * 42, b"\xff"])
def test_what_does_not_look_like_a_key_is_not_even_looked_up(text: bytes) -> None:
    with pytest.raises(StopIteration) as end:
        next(find_key(text))
    assert end.value.value is None


@pytest.mark.fault("E17")
def test_a_key_is_its_prefix_and_its_secret_together() -> None:
    making = create_key("ci", ["read", "read"], pipelines=["b", "a"], expires_in_s=60)
    step = next(making)
    kept = dict(step.parameters)
    row = {name: kept.get(name) for name in ("prefix", "name", "scopes", "pipelines")}
    times = dict.fromkeys(("created_at", "expires_at", "revoked_at", "last_used_at"))
    with pytest.raises(StopIteration) as end:
        making.send([{**row, **times}])
    text: bytes = end.value.value.text.encode()
    stored = {**row, "secret_hash": kept["secret_hash"], "live": True, "stale": False}
    hit = found(text, [stored])
    assert hit is not None
    assert (hit.caller.scopes, hit.caller.pipelines) == (frozenset({"read"}), ("a", "b"))
    assert found(text, []) is None
    assert found(text, [{**stored, "live": False}]) is None
    assert found(text[:-1] + (b"A" if text[-1:] != b"A" else b"B"), [stored]) is None
    assert text.decode() not in repr(end.value.value)


@pytest.mark.fault("E21")
def test_a_rate_is_kept_by_each_caller() -> None:
    now = 0.0
    rates = Rates(2.0, 3, clock=lambda: now)
    assert [rates.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.wait_s("b") == 0
    now = 0.5
    assert [rates.wait_s("a") for _ in range(2)] == [0, 0.5]
    now = 100.0
    assert [rates.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    for number in range(MAX_CALLERS):
        rates.wait_s(str(number))
    # Forgotten in the meantime, it begins anew.
    assert rates.wait_s("a") == 0
