"""How a command ends: one message, the right exit code, and a traceback only for who asked for it."""

from __future__ import annotations

import errno

import pytest

from cableway.errors import DefinitionError, Fault, ParameterError, UnavailableError, UnknownRunError, UsageError
from cableway_handlers.cli.boundary import exit_code_of


def failing(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("-p takes NAME=VALUE"), 2),
        (UnavailableError("Postgres cannot be reached"), 69),
        (UnknownRunError("no run 'x'"), 78),
        (SystemExit(3), 3),
        (SystemExit(), 0),
        (KeyboardInterrupt(), 143),
        (OSError(errno.ENOSPC, "No space left on device"), 74),
        (OSError(errno.EIO, "broken"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code_of(lambda: failing(error)) == code


def test_an_error_is_one_message_with_its_faults_below(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault("/stages", "missing", "must be there"), Fault("/name", "invalid", "too long")]
    assert exit_code_of(lambda: failing(DefinitionError("two faults", faults))) == 78
    assert capsys.readouterr().err == "cableway: two faults\n  /stages: must be there\n  /name: too long\n"


def test_faults_that_say_the_same_of_different_places_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    places = ["/stages/0/workers", "/workers", "/lane"]
    faults = [Fault(place, "unexpected", "is not known here") for place in places]
    assert exit_code_of(lambda: failing(DefinitionError(f"{places[0]}: is not known here; and 2 more", faults))) == 78
    assert capsys.readouterr().err.splitlines() == [
        "cableway: 3 faults",
        *(f"  {each}: is not known here" for each in places),
    ]


def test_several_faults_stand_below_each_other_by_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [
        Fault("/b", "missing", "is required", 7),
        Fault("/a", "unexpected", "is odd", 2),
        Fault("/c", "x", "is too"),
    ]
    error = DefinitionError("pipeline 'p': line 7, /b: is required; line 2, /a: is odd; and 1 more", faults)
    assert exit_code_of(lambda: failing(error)) == 78
    assert capsys.readouterr().err.splitlines() == [
        "cableway: pipeline 'p': 3 faults",
        "  line 2, /a: is odd",
        "  line 7, /b: is required",
        "  /c: is too",
    ]


def test_a_bug_is_a_message_and_with_debug_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code_of(lambda: failing(ZeroDivisionError("by zero"))) == 1
    assert capsys.readouterr().err == "cableway: an error that nobody foresaw: ZeroDivisionError: by zero\n"
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert exit_code_of(lambda: failing(ZeroDivisionError("by zero"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_parameter_comes_with_how_one_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    fault = Fault("/parameters/day", "unknown", "is no parameter of this pipeline; it has: none")
    exit_code_of(lambda: failing(ParameterError("they do not fit", [fault])))
    assert capsys.readouterr().err.splitlines()[-1] == "  a parameter is given as -p NAME=VALUE"
