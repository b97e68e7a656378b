"""What it takes a process to load data: seconds from its start to its end, of the processor, and the most memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks._peers import HERE


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds from start to end, those of the processor, and the most memory that the process held."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def timed(command: Sequence[str], environment: Mapping[str, str]) -> Load:
    """Run *command* to its end; end with its errors where it fails."""
    timer = [sys.executable, "-I", "-S", str(HERE / "_timed.py")]
    done = subprocess.run([*timer, *command], env=environment, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    if said["status"]:
        sys.exit(f"{' '.join(command)[:200]}: status {said['status']}\n{said['errors']}")
    return Load(said["wall_s"], said["cpu_s"], said["peak_mb"])
