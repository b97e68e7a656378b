from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from cableway.errors import ConflictError, DefinitionError, TakenError, UnknownPipelineError
from cableway.runs import RunRequest
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage, SavedVersion
from cableway.store.port import Claimed, RunResult, RunState
from cableway.store.postgres import PostgresRunStore
from tests.fixtures.state import pipeline
from tests.integration.store.conftest import STAGES, document

pytestmark = pytest.mark.usefixtures("blocs")


def history(storage: DatabaseStorage) -> list[tuple[int, bool, int | None]]:
    return [(row.version, row.active, row.previous_version) for row in storage.list_versions("numbers")]


def said(storage: DatabaseStorage) -> str:
    return storage.get_pipeline("numbers").definition.description


def save(storage: DatabaseStorage, *texts: str) -> None:
    for text in texts:
        storage.save_pipeline(document(description=text))


def test_versions_are_numbered_and_say_who_made_them_and_why(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES, author="ada", note="first")
    storage.update_pipeline("numbers", description="two", author="bob", note="second")
    rows = storage.list_versions("numbers")
    assert [(row.name, row.version, row.active, row.author, row.note) for row in rows] == [
        ("numbers", 2, True, "bob", "second"),
        ("numbers", 1, False, "ada", "first"),
    ]
    assert len({row.content_hash for row in rows}) == 2
    with pytest.raises(UnknownPipelineError, match="'none'"):
        storage.list_versions("none")


def test_a_version_never_changes(storage: DatabaseStorage) -> None:
    save(storage, "one", "two")
    before = storage.get_pipeline("numbers", 1)
    storage.update_bloc("double", config={"factor": 5})
    storage.roll_back("numbers")
    storage.delete_pipeline("numbers")
    after = storage.get_pipeline("numbers", 1)
    assert (after.definition, after.content_hash, after.created_at) == (
        before.definition,
        before.content_hash,
        before.created_at,
    )


def test_what_says_the_same_makes_no_version(storage: DatabaseStorage) -> None:
    save(storage, "one")
    same: list[dict[str, Any]] = [
        document(description="one"),
        {"stages": [{"blocs": ["read"], "workers": 1}, *STAGES[1:]], "description": "one", "name": "numbers"},
    ]
    for each in same:
        assert storage.save_pipeline(each) == SavedVersion(name="numbers", version=1, created=False)
    assert storage.update_pipeline("numbers") == SavedVersion(name="numbers", version=1, created=False)
    assert len(history(storage)) == 1


def test_going_back_leads_to_what_stood_before_and_never_to_what_was_left(storage: DatabaseStorage) -> None:
    save(storage, "good", "bad")
    assert storage.roll_back("numbers").version == 1
    save(storage, "also bad")
    assert history(storage) == [(3, True, 1), (2, False, 1), (1, False, None)]
    assert storage.roll_back("numbers").version == 1
    assert said(storage) == "good"
    with pytest.raises(DefinitionError, match="no version before version 1"):
        storage.roll_back("numbers")
    assert storage.activate("numbers", 2).version == 2
    assert said(storage) == "bad"
    for name, version in (("numbers", 9), ("none", 1)):
        with pytest.raises(UnknownPipelineError):
            storage.activate(name, version)
    with pytest.raises(UnknownPipelineError):
        storage.roll_back("none")


def test_a_change_of_what_was_not_seen_is_refused(storage: DatabaseStorage) -> None:
    save(storage, "one", "two")
    for change in (
        lambda: storage.save_pipeline(document(description="x"), expected_version=1),
        lambda: storage.update_pipeline("numbers", description="x", expected_version=3),
        lambda: storage.activate("numbers", 1, expected_version=1),
        lambda: storage.roll_back("numbers", expected_version=1),
        lambda: storage.delete_pipeline("numbers", expected_version=1),
        lambda: storage.save_pipeline({**document(), "name": "new"}, expected_version=1),
    ):
        with pytest.raises(ConflictError, match="expected") as caught:
            change()
        assert caught.value.status == 412
    assert (said(storage), len(history(storage)), len(storage.list_pipelines())) == ("two", 2, 1)
    assert storage.update_pipeline("numbers", description="three", expected_version=2).version == 3


def test_of_those_who_saw_the_same_one_may_change_it(storage: DatabaseStorage, state: DatabaseSettings) -> None:
    save(storage, "one")

    def change(number: int) -> bool:
        with DatabaseStorage(state) as own:
            try:
                return own.update_pipeline("numbers", description=f"by {number}", expected_version=1).created
            except ConflictError:
                return False

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(change, range(4)))
    assert sorted(outcomes) == [False, False, False, True]
    assert len(history(storage)) == 2


def test_an_update_changes_keys_of_the_document_as_written(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES, description="one", settings={"timeout_s": 60})
    storage.update_pipeline("numbers", settings={"max_errors": 3}, description=None)
    found = storage.get_pipeline("numbers")
    assert found.source == {"name": "numbers", "stages": STAGES, "settings": {"max_errors": 3}}
    assert (found.definition.description, found.definition.settings.timeout_s) == ("", None)
    with pytest.raises(DefinitionError, match="/nothing"):
        storage.update_pipeline("numbers", nothing=1)
    with pytest.raises(UnknownPipelineError):
        storage.update_pipeline("none", description="x")


def test_an_archived_pipeline_rests_until_it_is_brought_back(storage: DatabaseStorage) -> None:
    save(storage, "one", "two")
    storage.create_trigger("hook", "numbers", kind="webhook", config={"secrets": ["env:HOOK"]})
    run_id = storage.record_run(RunRequest(pipeline="numbers")).run_id
    storage.delete_pipeline("numbers")
    storage.delete_pipeline("numbers")
    assert storage.list_pipelines()[0].archived_at is not None
    with pytest.raises(UnknownPipelineError, match="archived"):
        storage.record_run(RunRequest(pipeline="numbers"))
    changes: list[Callable[[], object]] = [
        lambda: storage.update_pipeline("numbers", description="x"),
        lambda: storage.roll_back("numbers"),
    ]
    for change in changes:
        with pytest.raises(UnknownPipelineError, match="archived: create it again, or activate"):
            change()
    assert len(history(storage)) == 2
    assert (storage.get_run(run_id).run.version, storage.get_trigger("hook").pipeline) == (2, "numbers")
    ways: list[Callable[[], SavedVersion]] = [
        lambda: storage.create_pipeline("numbers", STAGES, description="three"),
        lambda: storage.save_pipeline(document(description="three")),
        lambda: storage.activate("numbers", 3),
    ]
    for bring_back in ways:
        storage.delete_pipeline("numbers")
        assert bring_back().version == 3
        assert storage.list_pipelines()[0].archived_at is None
        assert storage.record_run(RunRequest(pipeline="numbers")).created
    with pytest.raises(UnknownPipelineError):
        storage.delete_pipeline("none")
    with pytest.raises(TakenError, match="there already"):
        storage.create_pipeline("numbers", STAGES)


def test_versions_are_compared_place_by_place(storage: DatabaseStorage) -> None:
    save(storage, "one")
    storage.update_bloc("double", config={"factor": 5})
    storage.update_pipeline("numbers", description="two")
    found = [(each.op, each.pointer, each.before, each.after) for each in storage.diff("numbers", 1)]
    assert found == [
        ("replace", "/stages/1/blocs/0/config/factor", 2.0, 5.0),
        ("replace", "/description", "one", "two"),
    ]
    assert [each.pointer for each in storage.diff("numbers", 1, 2)] == ["/stages/1/blocs/0/config/factor"]
    assert storage.diff("numbers", 3, 3) == ()
    with pytest.raises(UnknownPipelineError):
        storage.diff("numbers", 1, 9)


def test_a_run_in_flight_keeps_the_version_it_was_recorded_with(storage: DatabaseStorage) -> None:
    storage.save_pipeline(document(description="as it was", settings={"concurrency": 2}))
    queued, running = (storage.record_run(RunRequest(pipeline="numbers")).run_id for _ in range(2))
    with closing(PostgresRunStore(storage.session.settings)) as store:
        claim = store.claim(running)
        assert isinstance(claim, Claimed)
        storage.update_bloc("double", config={"factor": 7})
        save(storage, "edited meanwhile")
        storage.delete_pipeline("numbers")
        store.finish(claim.lease, RunResult(state=RunState.INTERRUPTED, exit_code=143, counts={}))
        again, late = store.claim(running), store.claim(queued)
    assert isinstance(again, Claimed)
    assert isinstance(late, Claimed)
    for run in (claim.run, again.run, late.run):
        assert (run.version, run.document["description"]) == (1, "as it was")
        assert run.document["stages"][1]["blocs"][0]["config"]["factor"] == 2.0
        assert run.version_hash == storage.get_pipeline("numbers", 1).content_hash


def test_a_definition_made_in_python_or_read_back_is_saved_as_well(storage: DatabaseStorage) -> None:
    save(storage, "one")
    read_back = storage.get_pipeline("numbers").definition
    assert not storage.save_pipeline(read_back).created
    # What it is made of is still known: a bloc's change still reaches it.
    assert storage.get_pipeline("numbers").bloc_names == ["double", "read", "triple", "write"]
    assert storage.save_pipeline(pipeline("other")).created


def test_a_save_that_fails_half_way_leaves_nothing(storage: DatabaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    save(storage, "one")
    rows = storage.session.rows

    def fail(name: str, before: Any = (), /, **parameters: Any) -> Any:
        found = rows(name, **parameters)
        if name == "insert_version":
            raise RuntimeError("power cut")
        return found

    monkeypatch.setattr(storage.session, "rows", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        save(storage, "two")
    monkeypatch.undo()
    assert (said(storage), len(history(storage))) == ("one", 1)
