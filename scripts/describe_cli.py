"""The page on the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

OPENING = """\
# The command line

<!-- Written by `make docs` from handlers/cableway_handlers/cli/; change it there. -->

What was asked for goes to stdout, all else to stderr. With `--json` stdout holds JSON; where something is wrong that
is one [problem](errors.md), with every fault. Exit codes are those of [the errors](errors.md). Bloc types of your own
are found in the working folder once `CABLEWAY_BLOCS` names their modules, in the environment or in `.env`. Where no
database is named, one of the command's own is used, in `.cableway/`. `cableway --install-completion` lets the shell
complete the names of pipelines, runs and bloc types.

| command | what it does |
|---|---|
"""
EXAMPLE = "Example: "


def page() -> str:
    """The whole page, as Markdown."""
    # Loaded here, for scripts do without the package.
    from cableway_handlers.cli.app import app

    found = list(_commands(typer.main.get_command(app), "cableway"))
    index = "".join(f"| [`{name}`](#{_anchor(name)}) | {_sentence(command)} |\n" for name, command in found)
    return OPENING + index + "".join(_section(name, command) for name, command in found)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    members = getattr(command, "commands", None)
    if members is None:
        yield name, command
        return
    for each, member in members.items():
        yield from _commands(member, f"{name} {each}")


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and "--help" not in each.opts]
    usage = " ".join([name, *(each.metavar if each.required else f"[{each.metavar}]" for each in arguments)])
    paragraphs = inspect.cleandoc(command.help).split("\n\n")
    words = [part for part in paragraphs if not part.startswith(EXAMPLE)]
    examples = [part.removeprefix(EXAMPLE) for part in paragraphs if part.startswith(EXAMPLE)]
    rows = [f"| `{_in_cell(each.metavar)}` | {each.help} |\n" for each in arguments]
    rows += [f"| {_spelt(each)} | {each.help} |\n" for each in options]
    table = f"\n| | |\n|---|---|\n{''.join(rows)}" if rows else ""
    shown = "".join(f"$ {example}\n" for example in examples)
    return f"\n## {name}\n\n`{usage}`\n\n{_joined(words)}\n{table}\n```console\n{shown}```\n"


def _spelt(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar}"
    return ", ".join(f"`{_in_cell(spelling + value)}`" for spelling in option.opts)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")


def _joined(paragraphs: list[str]) -> str:
    return "\n\n".join(" ".join(part.split()) for part in paragraphs)


def _sentence(command: Any) -> str:
    return " ".join(inspect.cleandoc(command.help).partition("\n\n")[0].split())


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
