"""
Make the virtual environment that ``make`` works in, and leave it alone while it is right.

    python scripts/environment.py --venv .venv demo|dev

Needs nothing but Python 3.11 and pip. What was installed is noted in the
environment as a digest, so that a second call only compares. ``demo`` is content
with an environment made for ``dev``, which holds more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
TOO_OLD = "Cableway needs Python 3.11 or newer; {} is {}. Name another one: make PYTHON=/path/to/python3"
NO_PIP = """\
{} can make no environment that holds pip: it has neither ensurepip nor pip.
On Debian and Ubuntu: apt-get install python3-venv. Or name another one: make PYTHON=/path/to/python3"""
# pip's settings, by the names under which uv wants to hear of them.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "default-timeout": "UV_HTTP_TIMEOUT",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the environment that make works in.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("kind", choices=["demo", "dev"])
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):
        sys.exit(TOO_OLD.format(sys.executable, sys.version.split()[0]))
    venv = arguments.venv.absolute()
    if not is_current(venv, arguments.kind):
        # Byte code is what makes the second start fast, whatever the shell prefers.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        build(venv, arguments.kind)


def is_current(venv: Path, kind: str) -> bool:
    enough = ["dev"] if kind == "dev" else ["demo", "dev"]
    return any(_read(_stamp(venv, name)) == content_digest(name) for name in enough)


def build(venv: Path, kind: str) -> None:
    """Make *venv* hold exactly what requirements/*kind*.txt pins, and the project as editable."""
    pins = REQUIREMENTS / f"{kind}.txt"
    for name in ("demo", "dev"):
        _stamp(venv, name).unlink(missing_ok=True)
    if not _runs(venv / "bin" / "python"):
        print(f"making {venv.name} with Python {sys.version.split()[0]}", flush=True)
        create(venv)
    print(f"installing {pins.relative_to(ROOT)}", flush=True)
    install(venv, pins)
    python = str(venv / "bin" / "python")
    # With pip, for uv reads what Python it may use from the machine's settings; offline, for all is there.
    project = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)]
    _run([python, "-m", "pip", *project])
    _run([python, "-m", "compileall", "-q", "-j", "0", str(ROOT / "engine"), str(ROOT / "handlers")])
    _stamp(venv, kind).write_text(content_digest(kind))


def create(venv: Path) -> None:
    """Make *venv* with pip in it, also where Debian has left ensurepip out."""
    shutil.rmtree(venv, ignore_errors=True)
    if _quietly([sys.executable, "-m", "venv", str(venv)]):
        return
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    python = str(venv / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"]
    if not _quietly(pip):
        shutil.rmtree(venv, ignore_errors=True)
        sys.exit(NO_PIP.format(sys.executable))


def install(venv: Path, pins: Path) -> None:
    """Bring *venv* to *pins*, with uv because it is fast, else with pip.

    pip can do it alone, and its settings (an index, certificates, wheels in a
    folder) may be the only ones that this machine has; uv is told of them.
    """
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-qq", "--require-hashes"]
    uv = venv / "bin" / "uv"
    if not uv.exists():
        _run([*pip, "--requirement", str(REQUIREMENTS / "tools.txt")])
    sync = [str(uv), "pip", "sync", "--python", python, "--quiet", "--require-hashes", "--compile-bytecode", str(pins)]
    if subprocess.run(sync, env=uv_environment(venv), check=False).returncode != 0:
        print("uv could not; trying pip", flush=True)
        _run([*pip, "--requirement", str(pins)])


def uv_environment(venv: Path) -> dict[str, str]:
    environment = dict(os.environ)
    for setting, variable in PIP_TO_UV.items():
        if value := _pip_setting(venv, setting):
            environment.setdefault(variable, value)
    # As pip does: the machine's certificates, and the best match of all indexes. Hashes say what is acceptable.
    environment.setdefault("UV_SYSTEM_CERTS", "1")
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def _pip_setting(venv: Path, name: str) -> str:
    value = os.environ.get("PIP_" + name.replace("-", "_").upper())
    if value is None:
        command = [str(venv / "bin" / "python"), "-m", "pip", "config", "get", f"global.{name}"]
        value = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    separator = "," if name == "find-links" else " "
    return separator.join(value.split())


def content_digest(kind: str) -> str:
    content = (REQUIREMENTS / f"{kind}.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(content + str(ROOT).encode()).hexdigest()


def _stamp(venv: Path, kind: str) -> Path:
    return venv / f".cableway-{kind}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _runs(python: Path) -> bool:
    return python.exists() and _quietly([str(python), "-m", "pip", "--version"])


def _quietly(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, check=False)
    if finished.returncode != 0:
        sys.exit(finished.returncode)


if __name__ == "__main__":
    main()
