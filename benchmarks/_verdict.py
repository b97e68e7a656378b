"""The last line of every benchmark: one JSON object with the figures, the targets, and whether they are met."""

from __future__ import annotations

import json
from collections.abc import Mapping


def say(benchmark: str, figures: Mapping[str, object], targets: Mapping[str, object], *, met: bool) -> None:
    """Print the line."""
    print(json.dumps({"benchmark": benchmark, "figures": figures, "targets": targets, "met": met}))
