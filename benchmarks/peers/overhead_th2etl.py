"""th2etl: one bloc that does next to nothing, built from its database, with its run's row. ``prepare`` stores it."""

from __future__ import annotations

import sys

from th2etl.configs.settings import get_settings
from th2etl.pipelines.runner import execute_pipeline_run
from th2etl.storage.database import DatabaseStorage


def main(arguments: list[str]) -> None:
    with DatabaseStorage.from_settings(get_settings()) as storage:
        if arguments:
            storage.create_bloc("nothing", "example_exporter", config={})
            storage.create_pipeline("noop", stages=[["nothing"]])
            return
        run = storage.create_pipeline_run("noop")
    execute_pipeline_run(run.id, "noop")
    with DatabaseStorage.from_settings(get_settings()) as storage:
        done = storage.get_pipeline_run(run.id)
    if done is None or done.status != "success":
        sys.exit(f"the run has ended as {done and done.status}")


if __name__ == "__main__":
    main(sys.argv[1:])
