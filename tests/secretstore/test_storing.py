"""Storing many secrets and variables: all of it or nothing, sealed each for its own environment."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlmodel import select

from secretstore import audit_reading, vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database, utc_now
from secretstore.errors import NameRefused, SecretStoreError, UnknownEnvironment, ValueRefused
from secretstore.local_keys import LocalKeys
from secretstore.models import SecretVersion
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.vault import Actor, NewSecret, NewVariable

Bundled = Callable[..., SealedBundle]


def test_one_value_in_two_environments_is_sealed_to_each_key(
    shop: Database, actor: Actor, pins: Pins, keys: LocalKeys, bundled: Bundled
) -> None:
    """Each environment has its own ciphertext of it, and the views come in the order that was given."""
    entries = [NewSecret(place, "TOKEN", b"of both places") for place in ("staging", "default")]
    views = vault.store(shop, "shop", entries, actor=actor, pins=pins)
    assert [(view.environment, view.name) for view in views] == [("staging", "TOKEN"), ("default", "TOKEN")]
    sealed = {place: bundled(shop, place) for place in ("default", "staging")}
    assert {place: [value for _, value in reveal(keys, bundle)] for place, bundle in sealed.items()} == {
        "default": [b"of both places"],
        "staging": [b"of both places"],
    }
    assert sealed["default"].fingerprint != sealed["staging"].fingerprint


def test_secrets_and_variables_are_stored_together(
    shop: Database, actor: Actor, pins: Pins, keys: LocalKeys, bundled: Bundled
) -> None:
    """A mixed lot, some of it there before, each with an event of its own in an unbroken chain."""
    vault.put(shop, "shop", "default", "OLD", b"older value", actor=actor, pins=pins)
    vault.set_variable(shop, "shop", "default", "REGION", "us", actor=actor)
    soon = utc_now() + timedelta(days=3)
    entries = [
        NewVariable("default", "REGION", "eu"),
        NewSecret("default", "OLD", b"newer value", expires_at=soon),
        NewSecret("default", "NEW", b"1234", allow_short=True),
        NewVariable("staging", "EMPTY", ""),
    ]
    bob = Actor("bob@example", "test")
    region, old, new, empty = vault.store(shop, "shop", entries, actor=bob, pins=pins)
    assert isinstance(old, vault.SecretView) and isinstance(new, vault.SecretView)
    assert (old.version, old.expires_at, old.created_by, old.updated_by) == (2, soon, actor.name, bob.name)
    assert (new.version, new.expires_at, new.maskable) == (1, None, False)
    assert isinstance(region, vault.VariableView) and isinstance(empty, vault.VariableView)
    assert (region.value, region.created_by, empty.value) == ("eu", actor.name, "")
    assert {item.name: value for item, value in reveal(keys, bundled(shop))} == {"OLD": b"newer value", "NEW": b"1234"}
    said = [(event.action, event.subject, event.actor) for event in audit_reading.list_events(shop, "shop", limit=4)]
    assert sorted(said) == [
        ("secret.set", "default/NEW", bob.name),
        ("secret.set", "default/OLD", bob.name),
        ("variable.set", "default/REGION", bob.name),
        ("variable.set", "staging/EMPTY", bob.name),
    ]
    assert audit_reading.verify(shop, "shop").ok


GOOD = NewSecret("default", "GOOD", b"a good value")


@pytest.mark.parametrize(
    ("bad", "refusal"),
    [
        (NewSecret("default", "LD_PRELOAD", b"canary value"), NameRefused),
        (NewSecret("default", "GOOD", b"canary value"), NameRefused),
        (NewVariable("default", "GOOD", "canary value"), NameRefused),
        (NewSecret("default", "REGION", b"canary value"), NameRefused),
        (NewVariable("staging", "TOKEN", "canary value"), NameRefused),
        (NewSecret("default", "SHORT", b"canary"), ValueRefused),
        (NewVariable("default", "NUL", "canary\0"), ValueRefused),
        (NewSecret("nowhere", "TOKEN", b"canary value"), UnknownEnvironment),
        (NewSecret("default", "TOKEN", b"canary value", expires_at=utc_now()), ValueRefused),
    ],
    ids=lambda given: getattr(given, "name", None) and f"{type(given).__name__} {given.environment}/{given.name}",
)
def test_i10_one_that_is_refused_refuses_all(
    shop: Database, actor: Actor, pins: Pins, bad: NewSecret | NewVariable, refusal: type[SecretStoreError]
) -> None:
    """I10: nothing of the lot is stored or recorded, and the error quotes no value."""
    vault.set_variable(shop, "shop", "default", "REGION", "eu", actor=actor)
    vault.put(shop, "shop", "staging", "TOKEN", b"some value", actor=actor, pins=pins)
    before = audit_reading.verify(shop, "shop")
    with pytest.raises(refusal) as refused:
        vault.store(shop, "shop", [GOOD, bad], actor=actor, pins=pins)
    assert "canary" not in repr(refused.value)
    assert [view.name for view in vault.list_secrets(shop, "shop")] == ["TOKEN"]
    assert [view.value for view in vault.list_variables(shop, "shop")] == ["eu"]
    assert audit_reading.verify(shop, "shop") == before


def test_a_thousand_cost_no_more_round_trips_than_a_few(shop: Database, actor: Actor, pins: Pins) -> None:
    """Statements per lot do not grow with each entry; events and versions are all there."""

    def statements(count: int, name: str) -> int:
        ran: list[str] = []

        def note(_: object, __: object, statement: str, *___: object) -> None:
            ran.append(statement)

        event.listen(shop.engine, "before_cursor_execute", note)
        entries = [NewSecret("default", f"{name}_{number}", b"some value") for number in range(count)]
        vault.store(shop, "shop", entries, actor=actor, pins=pins)
        event.remove(shop.engine, "before_cursor_execute", note)
        return len(ran)

    few, many = statements(3, "FEW"), statements(1000, "MANY")
    assert many <= few + 10
    assert len(vault.list_secrets(shop, "shop", "default")) == 1003
    assert audit_reading.verify(shop, "shop").checked == 3 + 1003


def test_nothing_is_stored_of_nothing(shop: Database, actor: Actor, pins: Pins) -> None:
    """An empty lot is no error."""
    assert vault.store(shop, "shop", [], actor=actor, pins=pins) == []


def test_older_versions_are_destroyed_for_good(
    shop: Database, actor: Actor, pins: Pins, keys: LocalKeys, bundled: Bundled
) -> None:
    """Of each secret the last few stay; of those that are younger nothing goes; no row of the others is left."""
    for number in range(5):
        entries = [NewSecret("default", "AGED", f"value number {number}".encode())]
        entries += [NewSecret("default", "YOUNG", b"young value")] if number > 2 else []
        vault.store(shop, "shop", entries, actor=actor, pins=pins, keep=3)
    assert [view.version for view in vault.history(shop, "shop", "default", "AGED")] == [5, 4, 3]
    assert [view.version for view in vault.history(shop, "shop", "default", "YOUNG")] == [2, 1]
    said = {
        event.subject: json.loads(event.detail).get("destroyed_up_to")
        for event in audit_reading.list_events(shop, "shop", limit=2)
    }
    assert said == {"default/AGED": 2, "default/YOUNG": None}
    with shop.reading() as session:
        assert len(session.exec(select(SecretVersion)).all()) == 5
    vault.put(shop, "shop", "default", "AGED", b"the only value", actor=actor, pins=pins, keep=1)
    assert [view.version for view in vault.history(shop, "shop", "default", "AGED")] == [6]
    assert {item.name: value for item, value in reveal(keys, bundled(shop))}["AGED"] == b"the only value"
