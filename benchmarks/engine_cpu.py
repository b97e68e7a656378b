"""
A CPU-bound stage: 2,000 items of about a millisecond of pure Python on two workers, pool start included.

The floor is two forked processes with half the items each. Every measurement is a process of its own, the
implementations in turn, so that all see the same machine. Ratios are of medians. The last line is one JSON object.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks import _peers, _verdict

CPU = Path(__file__).resolve().parent / "peers" / "cpu.py"
ITEMS = 2_000
ROUNDS = 5
FLOOR = "two forked processes"
PEERS = (
    "bergtalzug process",
    "bergtalzug interpreter",
    "joblib",
    "concurrent.futures, chunk 1",
    "concurrent.futures, chunk 16",
    "multiprocessing.Pool, chunk 1",
    "multiprocessing.Pool, chunk 16",
    "serial",
)

# How much of the floor's speed ours must reach: pool start included, and in a pool that is there.
TARGETS = {"cableway process": (0.90, 0.95), "cableway interpreter": (0.80, 0.85)}


def main() -> None:
    peer = _peers.interpreter("engine")
    ours = [name for name in TARGETS if sys.version_info >= (3, 14) or "interpreter" not in name]
    times: dict[str, list[dict[str, float]]] = {}
    for number in range(ROUNDS):
        # The peers are for orientation: once is enough.
        for name in (FLOOR, *ours, *(PEERS if number == 0 else ())):
            python = peer if name.startswith(("bergtalzug", "joblib")) else sys.executable
            times.setdefault(name, []).append(_peers.run(python, CPU, name, str(ITEMS)))
    floor_s = median(times[FLOOR], "cold_s")
    for name, taken in times.items():
        show(name, taken, floor_s)
    reached = {
        name: [round(floor_s / median(times[name], which), 3) for which in ("cold_s", "warm_s")] for name in ours
    }
    met = all(got >= least for name in ours for got, least in zip(reached[name], TARGETS[name], strict=True))
    _verdict.say("engine_cpu", reached, TARGETS, met=met)


def median(times: list[dict[str, float]], which: str) -> float:
    return statistics.median(each[which] for each in times)


def show(name: str, times: list[dict[str, float]], floor_s: float) -> None:
    cold_s = median(times, "cold_s")
    line = f"{name:32} {cold_s:7.3f} s  {floor_s / cold_s:5.2f} of the floor"
    if "warm_s" in times[0]:
        warm_s = median(times, "warm_s")
        line += f"   warm {warm_s:7.3f} s  {floor_s / warm_s:5.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
