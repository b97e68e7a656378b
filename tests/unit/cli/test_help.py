"""The command's surface: what it offers, and how little it loads to say so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cableway_handlers.cli import main
from cableway_handlers.cli.app import app

OTHERS = {"asyncio", "culsans", "fastapi", "httpx", "opentelemetry", "pandas", "psycopg", "pyarrow", "pydantic", "rich"}
HEAVY = {*OTHERS, "uvicorn", "yaml", "cableway.job", "cableway.storage"}


def commands(group: Any, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield *names, name


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_shows_an_example(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*names, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: cableway {' '.join(names)}" in shown
    assert f"Example: cableway {' '.join(names)}" in shown
    assert "--json" in shown or names in {("serve",), ("scheduler",), ("runs", "logs")}


def test_the_commands_are_told_in_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    shown = capsys.readouterr().out
    assert {names[0] for names in COMMANDS} <= set(shown.split())
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize("arguments", [["fly"], ["apply"], ["run", "x", "--nothing"], ["runs", "list", "--limit", "0"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Usage: cableway" in capsys.readouterr().err


def test_a_parameter_without_a_value_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny", "-p", "day"]) == 2
    assert capsys.readouterr().err == "cableway: -p takes NAME=VALUE, and 'day' is not that\n"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("cableway 0.")
    assert main(["version", "--json"]) == 0
    assert capsys.readouterr().out.startswith('{\n  "cableway": "0.')


def test_bloc_types_are_shown_without_a_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blocs", "list"]) == 0
    assert "csv_loader" in capsys.readouterr().out
    assert main(["blocs", "show", "csv_loader"]) == 0
    assert "file_path" in capsys.readouterr().out
    assert main(["blocs", "show", "api_loader"]) == 0
    shown = capsys.readouterr().out
    assert "pagination.next_path" in shown
    assert "\N{REPLACEMENT CHARACTER}" not in shown, "a description of several lines is one text"
    assert main(["blocs", "show", "filter"]) == 0
    assert "any_of[].column" in capsys.readouterr().out
    assert main(["blocs", "show", "csv_laoder"]) == 78
    assert "csv_loader" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = "import sys\nfrom cableway_handlers.cli import main\nmain(['--help'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded & HEAVY == set()
