"""
What a run keeps in memory: two async stages, with counts and failures alone and with results kept.

Every measurement is the peak of a process of its own. The last line is one JSON object.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import _peers, _verdict

MEMORY = Path(__file__).resolve().parent / "peers" / "memory.py"
FEW, MANY, KEPT, THEIRS = 10_000, 1_000_000, 1_000_000, 200_000

GROWTH, PEAK_MB, BYTES_AN_ITEM = 1.2, 100.0, 500.0


def main() -> None:
    peer = _peers.interpreter("engine")
    few, many = (peak_mb(sys.executable, "cableway counts alone", items) for items in (FEW, MANY))
    kept = bytes_an_item(sys.executable, "cableway results kept", KEPT)
    theirs = bytes_an_item(peer, "bergtalzug results kept", THEIRS)
    print(f"counts alone: {few:.1f} MB at {FEW:,} items, {many:.1f} MB at {MANY:,}: {many / few:.2f} times")
    print(f"results kept: {kept:.0f} bytes an item; bergtalzug {theirs:.0f}")
    figures = {
        "growth": round(many / few, 3),
        "peak_mb": round(many, 1),
        "bytes_kept_an_item": round(kept),
        "bytes_kept_vs_bergtalzug": round(kept / theirs, 3),
    }
    targets = {"growth": GROWTH, "peak_mb": PEAK_MB, "bytes_kept_an_item": BYTES_AN_ITEM}
    met = many / few <= GROWTH and many < PEAK_MB and kept <= BYTES_AN_ITEM
    _verdict.say("engine_memory", figures, targets, met=met)


def peak_mb(python: Path | str, name: str, items: int) -> float:
    return float(_peers.run(python, MEMORY, name, str(items))["kb"]) / 1024


def bytes_an_item(python: Path | str, name: str, items: int) -> float:
    return (peak_mb(python, name, items) - peak_mb(python, name, FEW)) * 1024 * 1024 / (items - FEW)


if __name__ == "__main__":
    main()
