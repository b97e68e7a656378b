"""luigi: one task that does nothing, with its own local scheduler. It keeps no record but the task's marker file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import luigi


class Nothing(luigi.Task):
    """Writes the empty file that says it was done."""

    path = luigi.Parameter()

    def output(self) -> luigi.LocalTarget:
        """The marker."""
        return luigi.LocalTarget(self.path)

    def run(self) -> None:
        """Make the marker."""
        Path(self.path).touch()


if __name__ == "__main__":
    marker = Path(os.environ["OVERHEAD_FOLDER"]) / f"luigi-{os.getpid()}"
    sys.exit(not luigi.build([Nothing(path=str(marker))], local_scheduler=True, log_level="ERROR"))
