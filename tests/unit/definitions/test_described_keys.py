"""The keys of a config as people read them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cableway.definitions.described_keys import ConfigKey, described_keys


class Node(BaseModel):
    name: str = Field(description="Its name,\n    ``plain``.")
    above: Node | None = None
    below: list[Node] = []


class Tree(BaseModel):
    root: Node
    size: int | None = None


def test_a_part_that_holds_itself_is_described_once() -> None:
    found = list(described_keys(Tree.model_json_schema()))
    assert [key.name for key in found] == ["root", "root.name", "root.above", "root.below", "size"]
    assert found[1] == ConfigKey("root.name", "string", "required", "Its name, `plain`.")
    assert [key.name for key in described_keys(Node.model_json_schema())] == [
        "name",
        "above",
        "above.name",
        "above.above",
        "above.below",
        "below",
        "below[].name",
        "below[].above",
        "below[].below",
    ]
