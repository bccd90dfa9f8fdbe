"""The audit, as lines that go somewhere else."""

import json
from typing import Any

import pytest

from secretstore import audit_reading
from tests.executor.api.conftest import House

pytestmark = pytest.mark.long


def test_the_audit_is_exported_as_lines(house: House) -> None:
    """Every event once, in the order of the chain and as it is hashed, over more than a batch of them; since a time."""
    for number in range(3):
        house.ask("PUT", "/projects/shop/variables/V", house.token("admin"), json=setting(str(number)))
    answer = house.ask("GET", "/projects/shop/audit/export", house.token("admin"))
    assert answer.headers["content-type"] == "application/jsonl"
    exported = [json.loads(line) for line in answer.text.splitlines()]
    listed = audit_reading.list_events(house.at.db, "shop")
    assert exported == [event.fields() for event in listed]
    assert [event["sequence"] for event in exported] == list(range(1, len(listed) + 1))
    later = {"since": exported[-2]["at"]}
    some = house.ask("GET", "/projects/shop/audit/export", house.token("admin"), params=later).text
    assert [json.loads(line) for line in some.splitlines()] == exported[-2:]
    unknown = house.ask("GET", "/projects/nowhere/audit/export", house.token("admin"))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_project")


def setting(value: str) -> dict[str, Any]:
    return {"environments": ["default"], "value": value}
