"""
What a hop costs: 50,000 items through three async stages that do nothing, 10 workers each, queue 1,000.

Every measurement is a process of its own, ours and the peer's in turn, so that both see the same machine.
Ratios are of medians. The last line is one JSON object.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks import _peers, _verdict

HOPS = Path(__file__).resolve().parent / "peers" / "hops.py"
ITEMS, FEW = 50_000, 5_000
ROUNDS = 7

# The peer that does the same, and how many times its speed ours must have.
TARGETS = {"tracked": 8.0, "untracked": 5.0, "refresh 1.0": 100.0}
OBSERVER_US = 0.3


def main() -> None:
    peer = _peers.interpreter("engine")
    pairs = {name: measure_pair(name, peer) for name in TARGETS}
    observed = overhead_us()
    for name, items, rounds in (
        ("cableway thread", FEW, 3),
        ("bergtalzug thread", FEW, 3),
        ("pypeln", FEW, 1),
        ("aiostream", FEW, 1),
        ("asyncio.Queue", ITEMS, 3),
        ("floor", ITEMS, 3),
    ):
        show(name, [seconds(name, items, peer) for _ in range(rounds)], items)
    ratios = {f"{name} vs bergtalzug": round(ratio, 2) for name, ratio in pairs.items()}
    met = all(pairs[name] >= target for name, target in TARGETS.items()) and observed <= OBSERVER_US
    targets = {f"{name} vs bergtalzug": target for name, target in TARGETS.items()}
    _verdict.say(
        "engine_hops",
        {**ratios, "observer_us_a_hop": round(observed, 3)},
        {**targets, "observer_us_a_hop": OBSERVER_US},
        met=met,
    )


def measure_pair(name: str, peer: Path) -> float:
    items = FEW if name == "refresh 1.0" else ITEMS
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS if items == ITEMS else 3):
        ours.append(seconds(f"cableway {name}", items, peer))
        theirs.append(seconds(f"bergtalzug {name}", items, peer))
    show(f"cableway {name}", ours, items)
    show(f"bergtalzug {name}", theirs, items)
    return statistics.median(theirs) / statistics.median(ours)


def overhead_us() -> float:
    """What an observer with empty methods adds to a hop, in microseconds."""
    plain: list[float] = []
    heard: list[float] = []
    for _ in range(ROUNDS):
        plain.append(cpu_seconds("cableway untracked"))
        heard.append(cpu_seconds("cableway untracked, observed"))
    show("cableway untracked, observed", heard, ITEMS)
    return (statistics.median(heard) - statistics.median(plain)) / ITEMS / 3 * 1e6


def cpu_seconds(name: str) -> float:
    return float(_peers.run(sys.executable, HOPS, name, str(ITEMS))["cpu_s"])


def seconds(name: str, items: int, peer: Path) -> float:
    python = peer if name.partition(" ")[0] in {"bergtalzug", "pypeln", "aiostream"} else sys.executable
    return float(_peers.run(python, HOPS, name, str(items))["s"])


def show(name: str, times: list[float], items: int) -> None:
    median = statistics.median(times)
    print(
        f"{name:30} {median:8.3f} s  {items / median:12,.0f} items/s  {median / items * 1e6:8.2f} us/item  "
        f"({min(times):.3f} to {max(times):.3f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
