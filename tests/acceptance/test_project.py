"""The image of a project that `cableway init` has written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cableway_handlers.cli import main
from tests import need

TAG = "localhost/cableway-orders:test"


@pytest.mark.timeout(900)
def test_the_project_is_built_on_our_image_and_runs_with_a_read_only_root(image: str, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path)]) == 0
    built = podman("build", "--quiet", "--build-arg", f"BASE={image}", "--tag", TAG, str(tmp_path))
    assert built.returncode == 0, built.stderr
    try:
        ran = podman("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", TAG)
    finally:
        podman("rmi", "--force", TAG)
    assert ran.returncode == 0, ran.stderr
    last = json.loads(ran.stdout.splitlines()[-1])
    assert (last["state"], last["rows"]) == ("succeeded", {"in": 5, "out": 4})


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([need.tool("podman"), *arguments], capture_output=True, text=True, timeout=300, check=False)
