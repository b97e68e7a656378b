"""Definitions checked where the code of their bloc types is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field

from cableway.blocs import LoaderBloc, RunContext, TransformerBloc
from cableway.catalog import Catalog
from cableway.definition import DOCUMENT_FORMAT
from cableway.errors import DefinitionError
from cableway.settings import DatabaseSettings
from cableway.storage import DatabaseStorage, Publication


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    url: str
    batch_size: Annotated[int, Ge(1)] | None = None
    share: float = 0.5
    mode: Literal["all", "new"] = "all"
    headers: dict[str, str] = field(default_factory=dict[str, str])


class FetchBloc(LoaderBloc):
    """A loader of somebody's own."""

    bloc_type = "fetch"
    summary = "Fetches."
    Config = FetchConfig
    example: ClassVar[Mapping[str, Any]] = {"url": "https://example.org"}

    def load(self, context: RunContext) -> list[str]:
        raise NotImplementedError


class CleanConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    ratio: float = Field(default=1.0, gt=0)
    names: list[str] = []


class CleanBloc(TransformerBloc):
    """A transformer with a pydantic model, for the thread lane alone."""

    bloc_type = "clean"
    summary = "Cleans."
    Config = CleanConfig
    example: ClassVar[Mapping[str, Any]] = {}
    lanes = ("thread", "interpreter")

    def transform(self, context: RunContext) -> Any:
        return context.input()


MODULE = __name__
STAGES: list[Any] = [
    [{"name": "fetch", "bloc_type": "fetch", "config": {"url": "x", "batch_size": 10, "share": 1}}],
    [{"name": "clean", "bloc_type": "clean", "config": {"ratio": 2}}],
]
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("fetch", {"url": "x"}),
    ("fetch", {"url": "${param:where}", "share": 1}),
    ("fetch", {"url": "x", "batch_size": "${param:size}"}),
    ("fetch", {"url": 5, "batch_size": 0, "mode": "some", "more": 1, "headers": {"a": 1}}),
    ("fetch", {}),
    ("fetch", {"url": "x", "batch_size": True, "share": "1", "headers": []}),
    ("clean", {}),
    ("clean", {"ratio": 2, "names": ["a"]}),
    ("clean", {"ratio": 0, "names": [1, "b", None], "more": {}}),
]


@pytest.fixture
def author(state: DatabaseSettings) -> Iterator[DatabaseStorage]:
    """Somebody who has the code."""
    with DatabaseStorage(state, catalog=Catalog([MODULE])) as storage:
        yield storage


@pytest.fixture
def published(author: DatabaseStorage, storage: DatabaseStorage) -> DatabaseStorage:
    """A storage without the code, after it was published."""
    with pytest.raises(DefinitionError, match="no bloc type 'fetch'"):
        storage.create_pipeline("early", STAGES)
    author.publish_bloc_types()
    return storage


def test_publishing_says_what_is_new(author: DatabaseStorage, storage: DatabaseStorage) -> None:
    first = author.publish_bloc_types()
    assert {"clean", "fetch", "csv_loader"} <= set(first.published)
    assert author.publish_bloc_types() == Publication(published=(), withdrawn=())
    rows = {row.name: row for row in storage.list_bloc_types()}
    assert rows["csv_loader"].version == "0.1.0"
    assert (rows["fetch"].description["kind"], rows["fetch"].description["summary"]) == ("loader", "Fetches.")
    assert storage.publish_bloc_types(prune=True).withdrawn == ("clean", "fetch")
    assert "fetch" not in {row.name for row in storage.list_bloc_types()}


def test_a_pipeline_of_published_types_is_saved_and_checked_again_by_the_job(
    published: DatabaseStorage, author: DatabaseStorage
) -> None:
    saved = published.create_pipeline("numbers", STAGES)
    version = published.get_pipeline("numbers")
    assert not version.checked
    assert version.definition.stages[0].blocs[0].config["mode"] == "all"
    # Who has the code comes to the same, and what is new is that it is checked.
    assert not author.save_pipeline({"name": "numbers", "stages": STAGES}).created
    assert author.get_pipeline("numbers").checked
    formats = author.session.rows("version", pipeline="numbers", version=saved.version)
    assert formats[0]["checked"]
    assert DOCUMENT_FORMAT > 0
    # Without it, nothing is unlearned.
    assert not published.save_pipeline({"name": "numbers", "stages": STAGES}).created
    assert author.get_pipeline("numbers").checked


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_the_description_judges_as_the_code_does(
    published: DatabaseStorage, author: DatabaseStorage, name: str, config: dict[str, Any]
) -> None:
    by_code, faults = author.catalog().normalise(name, config)
    by_description, others = published.catalog().normalise(name, config)
    assert {fault.pointer for fault in others} == {fault.pointer for fault in faults}
    assert by_description == by_code
    assert {key: type(value) for key, value in by_description.items()} == {
        key: type(value) for key, value in by_code.items()
    }


def test_faults_between_published_blocs_are_found(published: DatabaseStorage) -> None:
    stages = [STAGES[0], [{**STAGES[1][0], "lane": "interpreter"}], [{**STAGES[0][0], "name": "late"}]]
    with pytest.raises(DefinitionError) as caught:
        published.create_pipeline("numbers", stages)
    assert {(fault.pointer, fault.code) for fault in caught.value.faults} == {
        ("/stages/1/0/lane", "lane"),
        ("/stages/2/0", "stream"),
    }


def test_a_published_type_is_described_and_not_built(published: DatabaseStorage) -> None:
    catalog = published.catalog()
    assert {"clean", "fetch", "csv_loader"} <= set(catalog.names())
    assert catalog.describe("fetch")["example"] == {"url": "https://example.org"}
    assert catalog.path("csv_loader") == "cableway.blocs.csv_files.loader:CsvLoaderBloc"
    with pytest.raises(DefinitionError, match="not installed"):
        catalog.path("fetch")
    questions: list[Callable[[], object]] = [
        lambda: catalog.load("fetc"),
        lambda: catalog.describe("fetc"),
        lambda: catalog.normalise("fetc", {}),
    ]
    for ask in questions:
        with pytest.raises(DefinitionError, match="no bloc type 'fetc'; near it: fetch"):
            ask()


def test_stored_blocs_may_be_of_published_types(published: DatabaseStorage) -> None:
    published.create_bloc("fetch_all", "fetch", {"url": "x"})
    with pytest.raises(DefinitionError) as caught:
        published.update_bloc("fetch_all", config={"url": "x", "batch_size": 0})
    assert [fault.pointer for fault in caught.value.faults] == ["/config/batch_size"]
