"""The real API server of the Agent Development Kit, with an agent that needs no model, asked by a pipeline."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import need
from tests.integration.job.process import environment, job

pytestmark = pytest.mark.timeout(400)

AGENT = """
from google.adk.agents import BaseAgent
from google.adk.events import Event
from google.genai import types


class Echo(BaseAgent):
    async def _run_async_impl(self, context):
        said = "".join(part.text or "" for part in context.user_content.parts)
        content = types.Content(role="model", parts=[types.Part(text=f"echo: {said}")])
        yield Event(author=self.name, invocation_id=context.invocation_id, content=content)


root_agent = Echo(name="echo")
"""
DOCUMENT: dict[str, Any] = {
    "name": "asking",
    "stages": [
        {
            "name": "ask",
            "blocs": [
                {
                    "name": "agent",
                    "bloc_type": "run_adk_agents",
                    "config": {"agent_id": "echo", "user_id": "u-1", "message_text": "hello"},
                }
            ],
        },
        {"name": "tell", "blocs": [{"name": "lines", "bloc_type": "jsonl_exporter", "config": {}}]},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; installed in an environment of its own, for it does not fit beside ours."""
    folder = tmp_path_factory.mktemp("adk")
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        need.missing("needs the program uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, "venv"], cwd=folder, check=True)
    python = folder / "venv" / "bin" / "python"
    installed = subprocess.run(
        [uv, "pip", "install", "-q", "--python", str(python), "google-adk"], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        need.missing("needs google-adk, which could not be installed")
    agent = folder / "agents" / "echo"
    agent.mkdir(parents=True)
    (agent / "__init__.py").write_text("from . import agent\n")
    (agent / "agent.py").write_text(AGENT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(folder / "venv" / "bin" / "adk"), "api_server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([*command, str(agent.parent)], cwd=folder, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/list-apps", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers, for two minutes at most."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail("the agents' server did not start")


def test_a_pipeline_asks_a_real_agent(server: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["stages"][0]["blocs"][0]["config"]["base_url"] = server
    document["stages"][1]["blocs"][0]["config"]["file_path"] = "answers.jsonl"
    (tmp_path / "pipeline.json").write_text(json.dumps(document))
    env = environment(None, CABLEWAY_HTTP_ALLOW="127.0.0.1", ENCRYPT_KEY="a-key-of-at-least-32-characters-here")
    ended = job("run", "--file", "pipeline.json", env=env, cwd=tmp_path)
    assert ended.code == 0, ended.err
    (answer,) = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert (answer["agent_id"], answer["text"]) == ("echo", "echo: hello")
