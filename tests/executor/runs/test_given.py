"""What the gate gives a run whose environment has a source with a role: its long-lived key stays with the opener."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from executor.explain.preview import preview
from executor.models import Run
from executor.runs.grant import Asked, Given, read_given
from secretstore import vault
from secretstore.database import Database
from secretstore.key_files import create_local_key
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from secretstore.vault import Actor

ACTOR = Actor("ada@example", "test")
ROLE = "arn:aws:iam::123456789012:role/lake"
KEYS = b'{"aws_access_key_id": "AKIALAKE0000EXAMPLE1", "aws_secret_access_key": "lake+secret/key-4711"}'


@pytest.fixture
def shop(db: Database, tmp_path: Path) -> Database:
    """A project with a source that assumes a role, and one beside it that has no secrets."""
    create_local_key(tmp_path / "local.key")
    keys, pins = LocalKeys(tmp_path / "local.key"), Pins(tmp_path / "known_keys", db.url_shown)
    vault.create_project(db, "shop", actor=ACTOR, birth=lambda place, number: generate_wrapped(keys, place, number))
    for name, value in {"KEYS": KEYS, "OTHER": b"other-secret-4711"}.items():
        vault.put(db, "shop", "default", name, value, actor=ACTOR, pins=pins)
    settings = {"bucket": "raw", "credentials": {"$secret": "KEYS"}, "assume_role": ROLE}
    vault.create_connection(db, "shop", "default", "source", "lake", "s3", settings, actor=ACTOR)
    vault.create_connection(db, "shop", "default", "source", "open", "s3", {"bucket": "public"}, actor=ACTOR)
    return db


def given(db: Database, **asked: Any) -> Given:
    """What the gate reads for a run."""
    place = vault.get_environment(db, "shop", "default")
    run = Run(
        **{"target": {}, "mapped": {}, "secret_names": None, "setup_secret_names": None, "connections": True, **asked}
    )
    run.environment_id = place.id
    with db.reading() as session:
        return read_given(session, run)


def change(db: Database, **settings: Any) -> None:
    """Write into the row of the source, past the product."""
    with db.writing() as session:
        connection = session.connection()
        found = connection.execute(text("SELECT settings FROM secretstore_connection WHERE name = 'lake'")).scalar_one()
        new = json.dumps({**json.loads(found), **settings})
        connection.execute(text("UPDATE secretstore_connection SET settings = :new WHERE name = 'lake'"), {"new": new})


def test_it_is_opened_for_the_exchange_alone(shop: Database) -> None:
    """And no variable."""
    found = given(shop)
    assert found.channels == {"KEYS": "connection", "OTHER": "environment"}
    assert found.withheld == ["KEYS"]


@pytest.mark.parametrize("mapped", [{}, {"data": "source/open"}], ids=["none", "another"])
def test_a_run_without_the_source_is_not_given_its_key_instead(shop: Database, mapped: dict[str, str]) -> None:
    """I1: leaving connections out leaves their long-lived keys out too; who wants one names it."""
    found = given(shop, connections=False, mapped=mapped)
    assert found.channels == {"OTHER": "environment"} and [one.key for one in found.plan] == [*mapped.values()]
    assert given(shop, connections=False, secret_names=["KEYS"]).channels == {"KEYS": "environment"}


def test_a_source_that_is_not_in_order_keeps_its_key(shop: Database) -> None:
    """I9: a field that this version does not know is no reason to give every run what it exchanged until now."""
    change(shop, encryption="of a later version")
    found = given(shop)
    assert [one.refused is None for one in found.plan] == [False, True]
    assert found.channels == {"OTHER": "environment"}


def test_a_source_that_lacks_a_secret_keeps_its_key(shop: Database) -> None:
    """I4: what is opened for a source that cannot be given is opened for nothing."""
    change(shop, external_id={"$secret": "NOT_THERE"})
    assert given(shop).channels == {"OTHER": "environment"}


def test_a_source_that_is_given_hides_a_key_that_another_cannot_use(shop: Database) -> None:
    """I1: one with the same key that is refused does not bring it past the exchange."""
    settings = {"bucket": "x", "credentials": {"$secret": "KEYS"}, "assume_role": ROLE}
    settings |= {"external_id": {"$secret": "NOT_THERE"}}
    vault.create_connection(shop, "shop", "default", "source", "pond", "s3", settings, actor=ACTOR)
    assert given(shop).withheld == ["KEYS"]


@pytest.mark.parametrize("connections", [True, False])
def test_foretold(shop: Database, connections: bool) -> None:
    """What is explained is what the gate does."""
    found = preview(shop, "shop", "default", asked=Asked(connections=connections))
    assert "KEYS" not in {one.name for one in found.names}
    assert ("KEYS" in found.with_opener) == connections
