"""Somebody's own image on ours: the example builds, brings its blocs, and runs as an ordinary user."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import need

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_image"
TAG = "localhost/cableway-own-image:test"


@pytest.fixture(scope="module")
def own_image(image: str) -> Iterator[str]:
    """The tag of the example's image, built on the one of this working tree."""
    podman = need.tool("podman")
    command = [podman, "build", "--quiet", "--build-arg", f"BASE={image}", "--tag", TAG, str(EXAMPLE)]
    built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    assert built.returncode == 0, built.stderr[-4000:]
    yield TAG
    subprocess.run([podman, "image", "rm", "--force", TAG], check=False, capture_output=True, timeout=60)


def run(image: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the container as the strictest platform would: nothing to write but /tmp."""
    podman = need.tool("podman")
    command = [podman, "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", image, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.timeout(900)
def test_the_pipeline_runs_with_its_own_blocs(own_image: str) -> None:
    done = run(own_image)
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()
    assert sorted(rows) == ["Dear Ada, your 2 nights", "Dear Blaise, your 1 night", "Dear Charles, your 3 nights"]
    outcome = json.loads(last)
    assert (outcome["state"], outcome["rows"]) == ("succeeded", {"in": 3, "out": 3})


@pytest.mark.timeout(900)
def test_a_parameter_is_given_behind_the_image(own_image: str) -> None:
    done = run(own_image, "run", "--file", "/app/pipeline.yaml", "-p", "file=/app/nowhere.csv")
    assert done.returncode == 3
    assert "nowhere.csv" in done.stderr
