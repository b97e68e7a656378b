from __future__ import annotations

import sys

import pytest

from tests import need

MISSING = "a-program-that-nobody-has"


def test_what_is_there_is_given() -> None:
    assert need.tool("sh").endswith("/sh")
    assert need.module("json").loads("1") == 1
    need.python(3, 11)


def test_what_is_missing_is_a_skip_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"needs the program {MISSING}"):
        need.tool(MISSING)
    with pytest.raises(pytest.skip.Exception, match="needs the module nobody_has_this"):
        need.module("nobody_has_this")


def test_what_is_missing_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=f"needs the program {MISSING}, and CI is set"):
        need.tool(MISSING)


def test_an_older_python_stays_a_skip_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.skip.Exception, match="needs Python"):
        need.python(sys.version_info.major, sys.version_info.minor + 1)
