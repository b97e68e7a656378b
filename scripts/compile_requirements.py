"""
Compile ``requirements/*.in`` to pins with hashes, one consistent set: ``make requirements``.

``dev.txt`` is resolved first and holds everything; the others take their
versions from it, so that an environment can grow from one into the next. With
``--upgrade`` newer versions are looked for, otherwise only what changed moves.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements"
# No index address, no path and no date may get into the files: they are the same wherever they are made.
OPTIONS = [
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-header",
    "--no-config",
    "--no-emit-package=cableway",
    "--quiet",
]


def main(arguments: list[str]) -> None:
    compile_one("dev", *arguments)
    for name in ("tools", "run", "data", "server", "demo"):
        compile_one(name, "--constraint=dev.txt", *arguments)


def compile_one(name: str, *options: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", f"{name}.in", f"--output-file={name}.txt", *OPTIONS, *options]
    subprocess.run(command, cwd=REQUIREMENTS, check=True, stdout=subprocess.DEVNULL)
    print(f"requirements/{name}.txt")


if __name__ == "__main__":
    main(sys.argv[1:])
