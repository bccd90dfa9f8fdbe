"""docs/internals/house.md: its drawings have every room in the order of the contracts, its table every contract."""

import re
import tomllib
from typing import Any

import pytest

from tests.executor.cli.conftest import CHECKOUT

PAGE = (CHECKOUT / "docs" / "internals" / "house.md").read_text()
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["id"]: contract
    for contract in tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}


@pytest.mark.parametrize("package", ["executor", "secretstore"])
def test_the_drawing_has_every_room_in_the_order_of_the_contract(package: str) -> None:
    """Rooms of one line may not import each other; a line may import those below it."""
    drawing = PAGE.split(f"## {package}, top to bottom")[1].split("```")[1].splitlines()
    contract = CONTRACTS["executor-layers" if package == "executor" else "store-layers"]
    lines = []
    for layer in contract["layers"]:
        rooms = layer.split(" | ")
        found = [number for number, line in enumerate(drawing) if all(_has(line, room) for room in rooms)]
        assert found, f"no line of the drawing has {layer}"
        lines.append(found[0])
    assert lines == sorted(lines)


def test_every_contract_is_in_the_table() -> None:
    """Said in words."""
    table = PAGE.split("## Contracts")[1]
    assert [name for name in CONTRACTS if f"`{name}`" not in table] == []


def _has(line: str, room: str) -> bool:
    return re.search(rf"(?<![\w.]){room}(/|\.py)", line) is not None
