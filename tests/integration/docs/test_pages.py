"""
What stands in the documentation as code runs, and prints what the page says that it prints.

Blocks that begin with ``# file: NAME`` are written to a folder; where tests are among them pytest runs them. The other
Python blocks of a page are one program, in their order; a ``text`` block after one is its output.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGES = [
    "engine.md",
    "files.md",
    "operations.md",
    "runs.md",
    "schedules.md",
    "testing.md",
    "transforming.md",
    "writing-blocs.md",
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")
GUARD = 'if __name__ == "__main__":\n'
MARK = "<<end of block>>"


@dataclass(frozen=True, slots=True)
class Page:
    """The blocks of a page by what they are for."""

    files: dict[str, str]
    programs: list[str]
    outputs: dict[int, str]

    @classmethod
    def read(cls, name: str) -> Page:
        page = cls({}, [], {})
        for language, text in BLOCK.findall((DOCS / name).read_text(encoding="utf-8")):
            named = FILE.match(text)
            if named is not None:
                page.files[named[1]] = text
            elif language == "python":
                page.programs.append(text)
            elif language == "text":
                page.outputs[len(page.programs) - 1] = text
        return page


def run(folder: Path, *arguments: str) -> str:
    """What Python prints when it is run in *folder*."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=55,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [page for page in PAGES if Page.read(page).programs])
def test_the_program_of_a_page_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    page = Page.read(name)
    # What a worker imports is the first block; those that follow print as they stand.
    blocks = page.programs[:1] + [f"{GUARD}{indent(program, '    ')}" for program in page.programs[1:]]
    (tmp_path / "page.py").write_text("\n".join(f'{block}\n{GUARD}    print("{MARK}", flush=True)' for block in blocks))
    printed = run(tmp_path, "page.py").split(f"{MARK}\n")
    assert len(printed) == len(page.programs) + 1
    for number, text in enumerate(printed[:-1]):
        assert text == page.outputs.get(number, ""), page.programs[number]


@pytest.mark.parametrize("name", [page for page in PAGES if Page.read(page).files])
def test_the_files_of_a_page_pass_their_tests(name: str, tmp_path: Path) -> None:
    page = Page.read(name)
    for file, text in page.files.items():
        (tmp_path / file).write_text(text)
    tests = sum(text.count("\ndef test_") for text in page.files.values())
    told = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", ".")
    assert f"{tests} passed" in told
