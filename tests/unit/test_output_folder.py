from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cableway.context import RunFacts
from cableway.errors import DefinitionError, ResourceError, SettingsError
from cableway.running.output_folder import make_output_folder
from cableway.store.ids import new_id

FACTS = RunFacts(
    run_id="0190a1b2-c3d4-7000-8000-0000deadbeef", pipeline="flights", scheduler_name="five_minute_scheduler"
)
DUE = replace(FACTS, scheduled_at="2026-05-15T12:30:00+02:00")


def test_it_is_named_after_the_scheduler_and_the_time_at_which_the_run_was_due(tmp_path: Path) -> None:
    made = make_output_folder(str(tmp_path), DUE)
    assert made == str(tmp_path / "five_minute_scheduler" / "20260515_103000_deadbeef")
    assert Path(made).is_dir()
    assert make_output_folder(str(tmp_path), DUE) == made


def test_without_a_scheduler_after_the_pipeline_and_the_time_at_which_it_was_recorded(tmp_path: Path) -> None:
    facts = replace(FACTS, scheduler_name=None)
    assert make_output_folder(str(tmp_path), facts) == str(tmp_path / "flights" / "20240711_120925_deadbeef")
    assert make_output_folder(str(tmp_path), facts, "reports/daily").startswith(
        str(tmp_path / "reports" / "daily" / "2024")
    )


def test_each_run_of_a_second_and_each_attempt_has_its_own(tmp_path: Path) -> None:
    runs = [replace(DUE, run_id=new_id()) for _ in range(50)]
    runs.append(replace(runs[0], attempt=2))
    made = {make_output_folder(str(tmp_path), run) for run in runs}
    assert len(made) == 51
    assert sum(path.endswith("_attempt2") for path in made) == 1


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", "/etc", "ä" * 100, "x\0y", "\u202e", "a\nb"])
def test_a_name_never_leads_out(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    made = Path(make_output_folder(str(root), replace(DUE, scheduler_name=name)))
    assert made.parent.parent == root
    assert made.resolve() == made


@pytest.mark.parametrize("wanted", ["..", "../x", "a/../../b", "/etc", "", "a//b", "x\0y", "."])
def test_a_folder_that_leads_out_is_refused(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(DefinitionError, match="output_dir"):
        make_output_folder(str(tmp_path / "root"), DUE, wanted)
    assert list(tmp_path.iterdir()) == []


def test_what_keeps_it_from_being_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"PIPELINES_LOGS_DIR.*Not a directory"):
        make_output_folder(str(tmp_path / "file"), DUE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "makedirs", full)
    with pytest.raises(ResourceError, match="No space left"):
        make_output_folder(str(tmp_path), DUE)


def test_it_is_absolute_wherever_the_workers_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_output_folder("runs", DUE).startswith(str(tmp_path / "runs"))
