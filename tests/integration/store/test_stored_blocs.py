from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cableway.errors import ConflictError, DefinitionError, InUseError, UnknownNameError
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage
from tests.integration.store.conftest import STAGES, document

pytestmark = pytest.mark.usefixtures("blocs")


def factor(storage: DatabaseStorage, name: str, version: int | None = None) -> object:
    return storage.get_pipeline(name, version).definition.stages[1].blocs[0].config["factor"]


def test_a_bloc_that_changes_makes_a_version_of_each_pipeline_that_names_it(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES)
    storage.create_pipeline("also", STAGES)
    storage.create_pipeline("alone", [["read"]])
    changed = storage.update_bloc("double", config={"factor": 4}, author="ada")
    assert changed.bloc.config == {"factor": 4}
    assert changed.bloc.revision == 2
    assert [(each.name, each.version) for each in changed.versions] == [("also", 2), ("numbers", 2)]
    assert (factor(storage, "numbers", 1), factor(storage, "numbers"), factor(storage, "also")) == (2.0, 4.0, 4.0)
    version = storage.get_pipeline("numbers")
    assert (version.author, version.note) == ("ada", "bloc 'double' was changed")
    assert version.source == {"name": "numbers", "stages": STAGES}
    assert storage.get_pipeline("alone").version == 1


def test_what_says_the_same_changes_nothing(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES)
    same = storage.update_bloc("double", config={"factor": 2}, bloc_type="example_transformer")
    assert (same.bloc.revision, same.versions) == (1, ())
    described = storage.update_bloc("double", description="two of each")
    assert (described.bloc.revision, described.bloc.description, described.versions) == (2, "two of each", ())
    assert storage.get_pipeline("numbers").version == 1


@pytest.mark.promise("P22")
def test_a_change_that_breaks_a_pipeline_is_refused_with_every_fault(storage: DatabaseStorage) -> None:
    storage.create_bloc("other", "example_transformer", config={"factor": 1})
    storage.create_pipeline("numbers", STAGES)
    storage.create_pipeline("also", [["read"], ["double", "other"], ["write"]])
    with pytest.raises(DefinitionError, match="would break") as caught:
        storage.update_bloc("write", config={"table_name": "out", "source_bloc": "nobody"})
    found = [(fault.pointer, fault.message[:19]) for fault in caught.value.faults]
    assert found == [
        ("/pipelines/also/stages/2/0/config/source_bloc", "pipeline 'also': no"),
        ("/pipelines/numbers/stages/2/0/config/source_bloc", "pipeline 'numbers':"),
    ]
    assert storage.get_bloc("write").config["source_bloc"] == "double"
    assert [row.version for row in storage.list_pipelines()] == [1, 1]


def test_a_change_that_breaks_the_bloc_itself_is_refused(storage: DatabaseStorage) -> None:
    with pytest.raises(DefinitionError) as caught:
        storage.update_bloc("read", config={"delimiter": 5, "more": True})
    assert {fault.pointer for fault in caught.value.faults} == {
        "/config/file_path",
        "/config/delimiter",
        "/config/more",
    }
    with pytest.raises(DefinitionError, match="no bloc type 'nothing'"):
        storage.update_bloc("read", bloc_type="nothing")
    assert storage.get_bloc("read").revision == 1


def test_a_bloc_that_is_named_stays(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES)
    with pytest.raises(InUseError, match="is named by the pipeline 'numbers'") as caught:
        storage.delete_bloc("double")
    assert caught.value.status == 409
    # An archived pipeline and an old version have their own copy.
    storage.update_pipeline("numbers", stages=[["read"], ["triple"]])
    storage.delete_bloc("double")
    storage.delete_pipeline("numbers")
    storage.delete_bloc("triple")
    assert storage.activate("numbers", 1).version == 1
    with pytest.raises(DefinitionError, match="no bloc 'double'"):
        storage.update_pipeline("numbers", description="x")


def test_an_archived_pipeline_is_not_changed_by_its_blocs(storage: DatabaseStorage) -> None:
    storage.create_pipeline("numbers", STAGES)
    storage.delete_pipeline("numbers")
    assert storage.update_bloc("double", config={"factor": 9}).versions == ()
    assert storage.save_pipeline(document()).version == 2
    assert factor(storage, "numbers") == 9.0


def test_a_pipeline_of_its_own_blocs_comes_to_name_stored_ones(storage: DatabaseStorage) -> None:
    own = {"name": "read", "bloc_type": "csv_loader", "config": {"file_path": "data.csv"}}
    storage.save_pipeline({"name": "numbers", "stages": [{"name": "read", "blocs": [own]}]})
    assert storage.get_pipeline("numbers").bloc_names == []
    assert not storage.save_pipeline({"name": "numbers", "stages": ["read"]}).created
    assert storage.get_pipeline("numbers").bloc_names == ["read"]
    assert [each.version for each in storage.update_bloc("read", config={"file_path": "b.csv"}).versions] == [2]


def test_a_bloc_of_the_documents_own_is_not_the_stored_one(storage: DatabaseStorage) -> None:
    own = {"read": {"bloc_type": "csv_loader", "config": {"file_path": "own.csv"}}}
    storage.save_pipeline({"name": "numbers", "stages": ["read"], "blocs": own})
    assert storage.update_bloc("read", config={"file_path": "b.csv"}).versions == ()
    storage.delete_bloc("read")


def test_a_bloc_that_was_changed_in_between_is_not_overwritten(storage: DatabaseStorage) -> None:
    storage.update_bloc("double", config={"factor": 4}, expected_revision=1)
    for change in (
        lambda: storage.update_bloc("double", config={"factor": 5}, expected_revision=1),
        lambda: storage.delete_bloc("double", expected_revision=1),
    ):
        with pytest.raises(ConflictError, match="revision 2 by now"):
            change()
    storage.delete_bloc("double", expected_revision=2)
    for gone in (lambda: storage.delete_bloc("double"), lambda: storage.update_bloc("double", config={})):
        with pytest.raises(UnknownNameError, match="'double'"):
            gone()


def test_those_who_change_blocs_and_pipelines_at_once_end_with_the_newest(
    storage: DatabaseStorage, state: DatabaseSettings
) -> None:
    storage.create_pipeline("numbers", STAGES)

    def work(number: int) -> None:
        with DatabaseStorage(state) as own:
            if number % 2:
                own.update_bloc("double", config={"factor": number + 10})
            else:
                own.save_pipeline({"name": f"p{number}", "stages": STAGES})
                own.update_pipeline("numbers", description=str(number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    newest = float(storage.get_bloc("double").config["factor"])
    for row in storage.list_pipelines():
        assert factor(storage, row.name) == newest, row.name
