from __future__ import annotations

from pathlib import Path

import pytest

from scripts import environment


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty environment, beside requirements that a test may change."""
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/demo.txt", "requirements/dev.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements")
    (tmp_path / "venv").mkdir()
    return tmp_path / "venv"


def stamp(venv: Path, kind: str) -> None:
    (venv / f".cableway-{kind}").write_text(environment.content_digest(kind))


def test_an_environment_for_dev_is_good_enough_for_the_demo(venv: Path) -> None:
    assert not environment.is_current(venv, "demo")
    stamp(venv, "dev")
    assert environment.is_current(venv, "demo")
    assert environment.is_current(venv, "dev")


def test_an_environment_for_the_demo_is_not_enough_for_dev(venv: Path) -> None:
    stamp(venv, "demo")
    assert environment.is_current(venv, "demo")
    assert not environment.is_current(venv, "dev")


@pytest.mark.parametrize("changed", ["requirements/dev.txt", "pyproject.toml"])
def test_a_change_of_what_it_was_made_from_makes_it_stale(venv: Path, changed: str) -> None:
    stamp(venv, "dev")
    (venv.parent / changed).write_text("other")
    assert not environment.is_current(venv, "dev")


def test_settings_of_pip_reach_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*environment.PIP_TO_UV.values(), "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(variable, raising=False)
    settings = {"index-url": "https://index.example/simple", "find-links": "/a /b", "cert": "", "default-timeout": "9"}
    for name, value in {**settings, "extra-index-url": "https://x.example\nhttps://y.example"}.items():
        monkeypatch.setenv("PIP_" + name.replace("-", "_").upper(), value)
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "7")
    given = environment.uv_environment(Path("unused"))
    assert given["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert given["UV_INDEX"] == "https://x.example https://y.example"
    assert given["UV_FIND_LINKS"] == "/a,/b"
    assert given["UV_HTTP_TIMEOUT"] == "7", "what was said to uv itself stands"
    assert "SSL_CERT_FILE" not in given, "an empty setting is none"
