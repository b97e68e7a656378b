"""The project that `cableway init` writes, used as its owner would: each command a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cableway_handlers.cli import main

CABLEWAY = str(Path(sys.executable).with_name("cableway"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    assert main(["init", str(tmp_path / "orders")]) == 0
    return tmp_path / "orders"


def called(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)


def test_it_runs_at_once(project: Path) -> None:
    ran = called(project, CABLEWAY, "run", "--file", "pipeline.yaml")
    assert ran.returncode == 0, ran.stderr
    assert (project / "report.csv").read_text().splitlines() == [
        "order,customer,value",
        "1,ada,39.8",
        "2,ben,225.0",
        "4,cleo,102.6",
        "5,dora,3.1",
    ]


def test_its_cases_pass(project: Path) -> None:
    tested = called(project, CABLEWAY, "test")
    assert tested.returncode == 0, tested.stdout
    assert tested.stderr.splitlines()[-1] == "4 passed, 0 failed"


def test_its_own_tests_pass(project: Path) -> None:
    tested = called(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


def test_a_container_would_run_it(project: Path) -> None:
    env = {"PYTHONPATH": ".", "CABLEWAY_BLOCS": "blocs"}
    command = [sys.executable, "-m", "cableway", "run", "--file", "pipeline.yaml", "-p", "report=x.csv"]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, env=env, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (project / "x.csv").exists()


def test_the_shell_completes_commands_and_bloc_types(project: Path) -> None:
    def offered(*words: str) -> list[str]:
        asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "PATH": "/usr/bin:/bin"}
        env = {**asked, "_CABLEWAY_COMPLETE": "complete_bash"}
        done = subprocess.run([CABLEWAY], cwd=project, capture_output=True, text=True, timeout=60, env=env, check=True)
        return done.stdout.split()

    assert offered("cableway", "roll") == ["rollback"]
    assert offered("cableway", "blocs", "show", "order") == ["order_value"]
    assert offered("cableway", "run", "x") == [], "there is no database"


def test_the_page_on_cases_is_right(project: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "cases.md").read_text()
    (project / "of_the_page.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    tested = called(project, CABLEWAY, "test", "of_the_page.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert tested.stderr.splitlines()[-1] == "4 passed, 0 failed"
