"""
Large payloads: 200 of 5 MB each through a process stage of two workers that returns a number.

Against a plain ProcessPoolExecutor with as many in flight. Every measurement is a process of its own, ours and
the peer's in turn, so that both see the same machine. Ratios are of medians. The last line is one JSON object.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks import _peers, _verdict

PAYLOAD = Path(__file__).resolve().parent / "peers" / "payload.py"
ITEMS, MEGABYTES = 200, 5
ROUNDS = 5

# How many times the executor's MB/s ours must have.
TARGETS = {"bytes": 8.0, "numpy": 8.0, "frame": 5.0, "arrow": 10.0}


def main() -> None:
    ratios: dict[str, float] = {}
    for kind, least in TARGETS.items():
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            ours.append(seconds("cableway", kind))
            theirs.append(seconds("futures", kind))
        ratios[kind] = statistics.median(theirs) / statistics.median(ours)
        print(
            f"{kind:6} cableway {rate(ours):8,.0f} MB/s   ProcessPoolExecutor {rate(theirs):8,.0f} MB/s   "
            f"{ratios[kind]:5.1f} times (at least {least:g})",
            flush=True,
        )
    met = all(ratio >= TARGETS[kind] for kind, ratio in ratios.items())
    rounded = {kind: round(ratio, 2) for kind, ratio in ratios.items()}
    _verdict.say("engine_payload", rounded, TARGETS, met=met)


def seconds(name: str, kind: str) -> float:
    return float(_peers.run(sys.executable, PAYLOAD, name, kind, str(ITEMS))["s"])


def rate(times: list[float]) -> float:
    return ITEMS * MEGABYTES / statistics.median(times)


if __name__ == "__main__":
    main()
