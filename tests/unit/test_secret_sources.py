from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from cableway.errors import DefinitionError, SettingsError
from cableway.redaction import redacted
from cableway.secret_sources import SecretSources


def found(*sources: str, names: tuple[str, ...] = ("key",), **variables: str) -> Mapping[str, str]:
    return SecretSources(sources, variables).values(names)


def test_a_variable_is_a_secret_and_masked_from_now_on() -> None:
    assert found("env:", key="variable-secret") == {"key": "variable-secret"}
    assert redacted("a variable-secret b") == "a *** b"


def test_the_first_source_that_has_it_gives_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of the folder\n")
    (tmp_path / "other").write_text("other of the folder\r\n")
    names = ("key", "other")
    assert found("env:MY_", f"file:{tmp_path}", names=names, MY_key="of the variable") == {
        "key": "of the variable",
        "other": "other of the folder",
    }
    assert found(f"file:{tmp_path}", "env:MY_", MY_key="of the variable") == {"key": "of the folder"}


def test_a_folder_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "db-key").write_text("a line\nand another\n")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "db-key").symlink_to("..data/db-key")
    assert found(f"file:{tmp_path}", names=("db-key",)) == {"db-key": "a line\nand another"}


@pytest.mark.parametrize("name", ["DATABASE_PASSWORD", "database_url", "PASSWORD"])
def test_the_state_databases_own_variables_are_no_secrets(name: str) -> None:
    source = "env:DATABASE_" if name == "PASSWORD" else "env:"
    with pytest.raises(DefinitionError) as caught:
        found(source, names=(name,), DATABASE_PASSWORD="canary-own", database_url="canary-own")
    assert "canary-own" not in str(caught.value)


@pytest.mark.parametrize("name", ["..", ".hidden", "../key", "folder", "pipe", "/etc/hostname"])
def test_what_is_no_file_of_the_folder_is_no_secret(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "secrets"
    (inside / "folder").mkdir(parents=True)
    os.mkfifo(inside / "pipe")
    (tmp_path / "key").write_text("outside")
    with pytest.raises(DefinitionError, match="no secret of this name"):
        found(f"file:{inside}", names=(name,))


def test_all_that_are_missing_or_too_short_are_named_and_no_value() -> None:
    with pytest.raises(DefinitionError) as caught:
        found("env:", "file:/nowhere", names=("a", "b", "short", "there"), short="xyz", there="canary-there")
    assert caught.value.exit_code == 78
    assert [fault.message for fault in caught.value.faults] == [
        "${secret:a}: no secret of this name in env:, file:/nowhere",
        "${secret:b}: no secret of this name in env:, file:/nowhere",
        "${secret:short}: has fewer than 4 characters, too few to be kept out of logs",
    ]
    assert "xyz" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x" * 70_000])
def test_a_file_that_cannot_be_a_secret_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match="'key'"):
        found(f"file:{tmp_path}")


@pytest.mark.parametrize("source", ["vault:x", "env", "aws-ssm:"])
def test_a_source_that_is_none_names_the_variable(source: str) -> None:
    with pytest.raises(SettingsError, match="CABLEWAY_SECRETS"):
        SecretSources((source,), {})
