"""Peers that a benchmark measures against, each set in a virtual environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VENVS = HERE / "peers" / ".venvs"


def interpreter(name: str) -> Path:
    """The Python of the environment that ``peers/<name>.txt`` describes; made on first use, byte code compiled."""
    wanted = HERE / "peers" / f"{name}.txt"
    home = VENVS / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python, done = home / "bin" / "python", home / "made-from.txt"
    if not done.exists() or done.read_text() != wanted.read_text():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(wanted)], check=True)
        subprocess.run([str(python), "-m", "compileall", "-q", str(home / "lib")], check=False)
        done.write_text(wanted.read_text())
    return python


def run(python: Path | str, script: Path, *arguments: str, timeout_s: float = 240) -> dict[str, Any]:
    """Run *script* with *arguments*; return the JSON object that is its last line."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(HERE.parent)
    done = subprocess.run(
        [str(python), str(script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        sys.exit(f"{script.name} {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    return result
