"""The command line as typer sees it. Each command loads what it needs when it is called, so that help is quick."""

from __future__ import annotations

import typer

from cableway_handlers.cli import (
    dead_letter_commands,
    definition_commands,
    hook_commands,
    key_commands,
    limit_commands,
    project_commands,
    run_commands,
    scheduler_commands,
    service_commands,
    state_commands,
    upkeep_commands,
)

app = typer.Typer(
    name="cableway",
    help="Run data pipelines, each once, as one container, with a trace of every item.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its boxes cost more than all else that help does
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    project_commands,
    run_commands,
    dead_letter_commands,
    definition_commands,
    key_commands,
    limit_commands,
    scheduler_commands,
    hook_commands,
    state_commands,
    upkeep_commands,
    service_commands,
):
    commands.add_to(app)
