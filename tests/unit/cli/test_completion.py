"""Completion offers what is there, and nothing where anything goes wrong."""

from __future__ import annotations

import pytest

from cableway_handlers.cli import completion
from tests.unit.cli.conftest import Command


def test_bloc_types_are_offered_without_a_database(cableway: Command) -> None:
    ((name, summary),) = completion.bloc_types("csv_l")
    assert name == "csv_loader"
    assert summary.startswith("Loads CSV files")


@pytest.mark.parametrize("url", [None, "postgresql://someone@127.0.0.1:1/nowhere", "nonsense"])
def test_no_database_means_nothing_is_offered(
    cableway: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str | None
) -> None:
    if url is not None:
        monkeypatch.setenv("DATABASE_URL", url)
    assert completion.pipelines("") == completion.runs("") == completion.pipelines_and_runs("0") == []
    assert capsys.readouterr() == ("", "")


def test_settings_that_are_wrong_mean_nothing_is_offered(cableway: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CABLEWAY_BLOCS", "nothing_of_this_name")
    assert completion.bloc_types("") == []
