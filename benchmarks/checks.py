"""
What checking a pipeline costs: 10,000 blocs in three shapes, and four documents that are to be refused at once.

The ratio is against reading the same document with ``json.loads``, which has to happen anyway. Each case runs in a
process of its own, so that its peak of memory is its own; the targets are 2 s and 200 MiB, and 1 s for what is refused.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import _verdict
from cableway.catalog import Catalog
from cableway.checks import check_document, read_document
from cableway.errors import DefinitionError

BLOCS = 10_000
TARGET_S, REFUSAL_S, TARGET_MIB = 2.0, 1.0, 200


def bloc(name: str, source: str | None = None) -> dict[str, Any]:
    return {"name": name, "bloc_type": "pass_through", "config": {"source_bloc": source} if source else {}}


def pipeline(stages: list[Any]) -> str:
    return json.dumps({"name": "p", "stages": stages})


def chain() -> str:
    return pipeline([[bloc(f"b{n}", f"b{n - 1}" if n else None)] for n in range(BLOCS)])


def star() -> str:
    return pipeline([[bloc("b0")], [bloc(f"b{n}", "b0") for n in range(1, BLOCS)]])


def layered() -> str:
    rows = range(BLOCS // 100)
    return pipeline([[bloc(f"b{row}-{n}", f"b{row - 1}-{n}" if row else None) for n in range(100)] for row in rows])


def too_many() -> str:
    return pipeline([[bloc(f"b{n}") for n in range(BLOCS * 10)]])


def too_large() -> str:
    return pipeline(["x" * 50_000_000])


def too_deep() -> str:
    return "[" * 10_000


def bomb() -> str:
    lines = ["name: p", "stages: []", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)


CHECKED: dict[str, Callable[[], str]] = {"chain": chain, "star": star, "layered": layered}
REFUSED: dict[str, tuple[str, Callable[[], str]]] = {
    "blocs_100k": ("json", too_many),
    "json_50_mb": ("json", too_large),
    "yaml_10k_deep": ("yaml", too_deep),
    "yaml_bomb": ("yaml", bomb),
}


def checked(name: str) -> dict[str, Any]:
    """Check one shape, with pydantic loaded before."""
    catalog = Catalog()
    check_document(json.loads(pipeline([[bloc("a")]])), catalog=catalog)
    text = CHECKED[name]()
    began = time.process_time()
    document = json.loads(text)
    read = time.process_time()
    check_document(document, catalog=catalog)
    ended = time.process_time()
    return {"s": round(ended - read, 3), "ratio": round((ended - read) / (read - began), 1), "mib": peak_mib()}


def refused(name: str) -> dict[str, Any]:
    """Read and check one document that is to be refused, from a file."""
    import tempfile
    from pathlib import Path

    catalog = Catalog()
    check_document(json.loads(pipeline([[bloc("a")]])), catalog=catalog)
    kind, text = REFUSED[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p.{kind}"
        with path.open("w") as file:
            file.write(text())
        began = time.process_time()
        try:
            check_document(read_document(path), catalog=catalog)
        except DefinitionError:
            pass
        else:
            sys.exit(f"{name} was not refused")
        return {"s": round(time.process_time() - began, 3), "mib": peak_mib()}


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def alone(name: str) -> dict[str, Any]:
    """The figures of one case from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.checks", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main(arguments: list[str]) -> None:
    if arguments:
        name = arguments[0]
        print(json.dumps(checked(name) if name in CHECKED else refused(name)))
        return
    shapes = {name: alone(name) for name in CHECKED}
    bad = {name: alone(name) for name in REFUSED}
    met = all(one["s"] < TARGET_S and one["mib"] < TARGET_MIB for one in shapes.values())
    met = met and all(one["s"] < REFUSAL_S and one["mib"] < TARGET_MIB for one in bad.values())
    figures = {
        "unit": "s of processor time, MiB at the peak; 10,000 blocs, or a document to refuse",
        **shapes,
        **bad,
        "ratio": max(one["ratio"] for one in shapes.values()),
    }
    _verdict.say("checks", figures, {"s": TARGET_S, "mib": TARGET_MIB, "refusal_s": REFUSAL_S}, met=met)


if __name__ == "__main__":
    main(sys.argv[1:])
