"""``dead-letters``, ``runs replay`` and ``runs retry``, as typer sees them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cableway_handlers.cli.completion import pipelines
from cableway_handlers.cli.options import Json, RunId
from cableway_handlers.cli.run_commands import runs_app

letters_app = typer.Typer(help="Look at what failed for good, and work on it again.", no_args_is_help=True)

LetterId = Annotated[int, typer.Argument(metavar="ID", min=1, help="As `cableway dead-letters list` shows it.")]
OfRun = Annotated[str | None, typer.Option("--run", metavar="RUN_ID", help="Of this run.", show_default=False)]
OfPipeline = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of this pipeline.", autocompletion=pipelines, show_default=False)
]
OfStage = Annotated[str | None, typer.Option(metavar="STAGE", help="Of this stage.", show_default=False)]
OfBloc = Annotated[str | None, typer.Option(metavar="BLOC", help="Of this bloc.", show_default=False)]
OfError = Annotated[
    str | None, typer.Option("--error", metavar="TYPE", help="With this type of error.", show_default=False)
]
AtMost = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=100_000, help="So many at most.")]
Version = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="By this version of the pipeline.", show_default=False)
]
Latest = Annotated[bool, typer.Option("--latest", help="By the active version of the pipeline.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Record it, and leave its start to the scheduler.")]
LetterState = Literal["open", "replaying", "resolved"]


def add_to(app: typer.Typer) -> None:
    """Give *app* these commands."""
    for name, command in (("list", list_letters), ("show", show_letter), ("replay", replay_letters)):
        letters_app.command(name)(command)
    app.add_typer(letters_app, name="dead-letters")
    runs_app.command("replay")(replay_run)
    runs_app.command("retry")(retry_run)


def list_letters(
    run: OfRun = None,
    pipeline: OfPipeline = None,
    stage: OfStage = None,
    bloc: OfBloc = None,
    error: OfError = None,
    state: Annotated[
        LetterState | None, typer.Option(metavar="STATE", help="open, replaying or resolved.", show_default=False)
    ] = None,
    limit: AtMost = 50,
    json: Json = False,
) -> None:
    """List units that failed for good, the newest first.

    Example: cableway dead-letters list --pipeline flights --state open
    """
    from cableway_handlers.cli import dead_letters

    meant = dead_letters.Meant(run=run, pipeline=pipeline, stage=stage, bloc=bloc, error=error, limit=limit)
    dead_letters.list_letters(meant, state, json=json)


def show_letter(
    letter_id: LetterId,
    stack: Annotated[bool, typer.Option("--stack", help="With the stack of the error.")] = False,
    json: Json = False,
) -> None:
    """Show a dead letter with its payload.

    Example: cableway dead-letters show 42 --stack
    """
    from cableway_handlers.cli import dead_letters

    dead_letters.show_letter(letter_id, stack=stack, json=json)


def replay_letters(  # noqa: PLR0913, PLR0917 - each is an option
    letter_ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="These ones.", show_default=False)
    ] = None,
    run: OfRun = None,
    pipeline: OfPipeline = None,
    stage: OfStage = None,
    bloc: OfBloc = None,
    error: OfError = None,
    limit: AtMost = 100_000,
    version: Version = None,
    latest: Latest = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Work on open dead letters again, from the stage that failed on: one linked run for each run and stage.

    Example: cableway dead-letters replay 42 43

    Example: cableway dead-letters replay --pipeline flights --error TimeoutError
    """
    from cableway_handlers.cli import dead_letters

    meant = dead_letters.Meant(run=run, pipeline=pipeline, stage=stage, bloc=bloc, error=error, limit=limit)
    how = dead_letters.How(version=version, latest=latest, wait=not no_wait)
    raise typer.Exit(dead_letters.replay(meant, how, letter_ids, json=json))


def replay_run(  # noqa: PLR0913, PLR0917 - each is an option
    run_id: RunId,
    failed: Annotated[bool, typer.Option("--failed", help="What failed in it: its open dead letters.")] = False,
    stage: OfStage = None,
    bloc: OfBloc = None,
    error: OfError = None,
    limit: AtMost = 100_000,
    version: Version = None,
    latest: Latest = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Work on what failed in a run again, from the stage that failed on, as a new run that is linked to it.

    Example: cableway runs replay 019aa2f0-5a3c-7a50-9d6e-0f1d2c3b4a59 --failed --stage store
    """
    from cableway_handlers.cli import dead_letters

    meant = dead_letters.Meant(run=run_id, stage=stage, bloc=bloc, error=error, limit=limit)
    how = dead_letters.How(version=version, latest=latest, wait=not no_wait)
    raise typer.Exit(dead_letters.replay_run(meant, how, failed=failed, json=json))


def retry_run(
    run_id: RunId,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            help="Work on everything again, and write from this stage on.",
            show_default=False,
        ),
    ] = None,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Give a run that ended without success one more attempt: it goes on where it stopped.

    With --from a new run that is linked to it reads the whole source again.

    Example: cableway runs retry 019aa2f0-5a3c-7a50-9d6e-0f1d2c3b4a59

    Example: cableway runs retry 019aa2f0-5a3c-7a50-9d6e-0f1d2c3b4a59 --from store
    """
    from cableway_handlers.cli import dead_letters

    raise typer.Exit(dead_letters.retry(run_id, first, wait=not no_wait, json=json))
