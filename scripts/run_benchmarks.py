"""
Run every benchmark, one after the other, by name: ``make bench``.

A benchmark is a script in ``benchmarks`` whose last line is one JSON object with its
ratio and whether the target was met. A target missed is a figure, not a failure; a
benchmark that crashes or ends without that line is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def main() -> None:
    scripts = [path for path in sorted(FOLDER.glob("*.py")) if not path.name.startswith("_")]
    failed = [path.stem for path in scripts if not run(path)]
    if failed:
        sys.exit(f"crashed: {', '.join(failed)}")


def run(script: Path) -> bool:
    """Print the result of *script*; return whether it had one."""
    command = [sys.executable, "-m", f"benchmarks.{script.stem}"]
    done = subprocess.run(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, text=True, check=False)
    last = done.stdout.rstrip().rpartition("\n")[2]
    ended_well = done.returncode == 0 and is_object(last)
    print(f"{script.stem}: {last if ended_well else f'exit {done.returncode}, {last!r}'}", flush=True)
    return ended_well


def is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


if __name__ == "__main__":
    main()
