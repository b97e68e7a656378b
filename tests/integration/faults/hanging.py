"""What hangs in an interpreter of its own: it imports nothing of ours."""

from __future__ import annotations

import time
from pathlib import Path


def hang(number: object, begun: str) -> None:
    Path(begun).touch()
    time.sleep(120)
