"""What an import would do, and its carrying out."""

import pytest

from executor.cli.typed import pairs
from executor.operations import importing
from executor.schemas.importing import Import
from secretstore import vault
from secretstore.errors import NameRefused
from secretstore.local_keys import LocalKeys
from secretstore.reveal import reveal
from tests.executor.operations.conftest import WHO, Shop


def planned(shop: Shop, text: str) -> importing.Plan:
    asked = Import(project="shop", environment="default", reading=pairs.parse(text.encode(), "env"))
    return importing.plan(shop.at, WHO, asked)


def carried_out(shop: Shop, plan: importing.Plan) -> None:
    assert plan.shown.problems == ()
    importing.carry_out(shop.at, WHO, plan)


def test_a_plan_comes_true(shop: Shop) -> None:
    """Names, kinds and versions are stored as they were shown; a run is given the values as they stood in the file."""
    first = planned(shop, "PORT=1\nKEY='two\nlines of it'\nURL=https://${HOST}/\n")
    carried_out(shop, first)
    second = planned(shop, "PORT=1\nKEY=another-one\nLEVEL=2\n")
    assert [(one.name, one.kind, one.change, one.version) for one in second.shown.entries] == [
        ("PORT", "variable", "unchanged", None),
        ("KEY", "secret", "version", 2),
        ("LEVEL", "variable", "new", None),
    ]
    carried_out(shop, second)
    assert {one.name: one.version for one in vault.list_secrets(shop.at.db, "shop", "default")} == {"KEY": 2, "URL": 1}
    assert {one.name: one.value for one in vault.list_variables(shop.at.db, "shop")} == {"PORT": "1", "LEVEL": "2"}
    place = vault.get_environment(shop.at.db, "shop", "default")
    with shop.at.db.writing() as session:
        bundle = vault.sealed_bundle(session, place.id, None)
    opened = {item.name: value for item, value in reveal(LocalKeys(shop.key_file), bundle)}
    assert opened == {"KEY": b"another-one", "URL": b"https://${HOST}/"}


def test_after_a_rollback_the_next_version_is_the_newest_and_one(shop: Shop) -> None:
    """And not the current one and one."""
    for value in (b"correct-horse-1", b"correct-horse-2", b"correct-horse-3"):
        shop.seal("KEY", value)
    vault.rollback(shop.at.db, "shop", "default", "KEY", to=1, actor=WHO)
    (one,) = planned(shop, "KEY=correct-horse-4\n").shown.entries
    assert one.version == 4


def test_what_changes_between_plan_and_writing_stops_all_of_it(shop: Shop) -> None:
    """A variable that somebody makes meanwhile: nothing of the import is stored."""
    plan = planned(shop, "FIRST=correct-horse\nTAKEN=correct-horse\n")
    shop.set_variable("TAKEN", "x")
    with pytest.raises(NameRefused):
        carried_out(shop, plan)
    assert vault.list_secrets(shop.at.db, "shop") == []


def test_who_imports_stands_in_the_record(shop: Shop) -> None:
    """Of each name, as passed in."""
    carried_out(shop, planned(shop, "KEY=correct-horse-4\nPORT=8081\n"))
    events = shop.events()[-2:]
    assert {(event.action, event.actor) for event in events} == {("secret.set", WHO.name), ("variable.set", WHO.name)}


def test_i10_a_plan_shows_no_value_but_a_plain_variables(shop: Shop) -> None:
    """Every door shows what it returns; what is named like a secret is hidden, variable or not."""
    asked = Import(
        project="shop",
        environment="default",
        reading=pairs.parse(b"SESSION=correct-horse-4\nAPI_TOKEN=battery-staple-5\nPORT=8081\n", "env"),
        variables=("API_TOKEN",),
    )
    plan = importing.plan(shop.at, WHO, asked)
    assert {one.name: one.value for one in plan.shown.entries} == {"SESSION": None, "API_TOKEN": None, "PORT": "8081"}
    for said in (plan.shown.model_dump_json(), repr(plan), repr(asked)):
        assert "correct-horse" not in said and "battery-staple" not in said


def test_a_plan_with_a_problem_stores_nothing(shop: Shop) -> None:
    """And tells nothing of the file but its problems."""
    plan = planned(shop, "KEY=correct-horse-4\nbroken line\n")
    assert plan.shown.problems and plan.shown.entries == () and plan.to_store == ()


def test_a_plan_shows_no_value(shop: Shop) -> None:
    """I10: in a traceback or a log, of secrets and of variables."""
    plan = planned(shop, "KEY=correct-horse\nPORT=8081\n")
    assert "horse" not in repr(plan) and "8081" not in repr(plan)
    assert "horse" not in repr(pairs.parse(b"KEY=correct-horse\n", "env"))
