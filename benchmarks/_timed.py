"""
Run a command and say what it took: one JSON object with ``wall_s``, ``cpu_s``, ``peak_mb``, ``status`` and the end of
its errors.

A process of its own and a small one, for the system counts what the parent of a process held as the process's own.
"""

import json
import os
import sys
import tempfile
import time


def main(command: list[str]) -> None:
    with open(os.devnull, "wb") as nowhere, tempfile.TemporaryFile() as errors:  # noqa: PTH123 - pathlib is not small
        began = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1), (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        child = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
        wall_s = time.perf_counter() - began
        errors.seek(0)
        said = errors.read()[-2000:].decode(errors="replace")
    cpu_s, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb, "status": status, "errors": said}))


if __name__ == "__main__":
    main(sys.argv[1:])
