"""Versions: what history shows, how far a rollback reaches, what is destroyed, what expires."""

import json
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from secretstore import audit_reading, vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database, utc_now
from secretstore.errors import RollbackRefused, UnknownSecret
from secretstore.local_keys import LocalKeys
from secretstore.models import Environment, SecretVersion
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.vault import Actor, Birth, NewSecret

Bundled = Callable[..., SealedBundle]
Put = Callable[..., vault.SecretView]


@pytest.fixture
def put(shop: Database, actor: Actor, pins: Pins) -> Put:
    """Stores a value of TOKEN in the environment `default`."""

    def store(value: bytes = b"some value", **more: object) -> vault.SecretView:
        return vault.put(shop, "shop", "default", "TOKEN", value, actor=actor, pins=pins, **more)  # type: ignore[arg-type]

    return store


def versions(db: Database) -> list[int]:
    return [view.version for view in vault.history(db, "shop", "default", "TOKEN")]


def current(db: Database) -> list[int]:
    return [view.version for view in vault.history(db, "shop", "default", "TOKEN") if view.current]


def test_a_rollback_moves_a_pointer_and_nothing_else(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, put: Put
) -> None:
    """I2: an earlier version opens again, its sealed bytes as they were; who moved it from where to where is told."""
    for number in (1, 2, 3):
        put(f"value number {number}".encode())
    before = sealed_rows(shop)
    bob = Actor("bob@example", "test")
    view = vault.rollback(shop, "shop", "default", "TOKEN", actor=bob)
    assert (view.version, view.updated_by) == (2, "bob@example")
    assert vault.rollback(shop, "shop", "default", "TOKEN", to=1, actor=bob).version == 1
    assert [value for _, value in reveal(keys, bundled(shop))] == [b"value number 1"]
    assert sealed_rows(shop) == before
    assert vault.rollback(shop, "shop", "default", "TOKEN", to=3, actor=bob).version == 3
    told = audit_reading.list_events(shop, "shop", limit=3)
    assert {(event.action, event.subject) for event in told} == {("secret.rollback", "default/TOKEN")}
    moves = [json.loads(event.detail) for event in told]
    assert [(move["from"], move["to"]) for move in moves] == [(3, 2), (2, 1), (1, 3)]
    assert audit_reading.verify(shop, "shop").ok


def sealed_rows(db: Database) -> dict[tuple[int, int], bytes]:
    with db.reading() as session:
        return {(row.version, row.generation): row.sealed for row in session.exec(select(SecretVersion))}


def test_a_value_after_a_rollback_is_a_version_of_its_own(shop: Database, actor: Actor, put: Put) -> None:
    """Numbers are not used twice, and what a rollback left stays within reach."""
    for _ in range(3):
        put()
    vault.rollback(shop, "shop", "default", "TOKEN", to=1, actor=actor)
    assert put().version == 4
    assert versions(shop) == [4, 3, 2, 1]
    assert vault.rollback(shop, "shop", "default", "TOKEN", actor=actor).version == 3


def test_a_version_that_is_not_kept_is_refused(shop: Database, actor: Actor, put: Put) -> None:
    """The sentence lists those that are; the current version is no rollback either."""
    for _ in range(5):
        put(keep=3)
    refusals = {
        2: "version 2 is not kept; there is 3 to 5",
        6: "version 6 is not kept; there is 3 to 5",
        -1: "version -1 is not kept; there is 3 to 5",
        5: "version 5 is the current one; there is 3 to 5",
    }
    for to, why in refusals.items():
        with pytest.raises(RollbackRefused) as refusal:
            vault.rollback(shop, "shop", "default", "TOKEN", to=to, actor=actor)
        assert str(refusal.value) == f'secret "TOKEN" of shop/default cannot be rolled back: {why}'
    vault.rollback(shop, "shop", "default", "TOKEN", to=3, actor=actor)
    with pytest.raises(RollbackRefused, match="no version before 3, the current one, is kept; there is 3 to 5"):
        vault.rollback(shop, "shop", "default", "TOKEN", actor=actor)
    with pytest.raises(UnknownSecret):
        vault.rollback(shop, "shop", "default", "TOKN", actor=actor)
    assert current(shop) == [3]


def test_a_version_of_another_key_pair_alone_is_not_one_to_go_back_to(shop: Database, actor: Actor, put: Put) -> None:
    """It could not be opened: a run reads one generation."""
    put()
    put()
    with shop.writing() as session:
        environment = session.exec(select(Environment).where(Environment.name == "default")).one()
        row = session.exec(select(SecretVersion).where(SecretVersion.version == 1)).one()
        session.delete(row)
        session.flush()
        session.add(
            SecretVersion(
                secret_id=row.secret_id,
                version=1,
                generation=environment.generation + 1,
                sealed=row.sealed,
                maskable=True,
                created_by="x",
            )
        )
    with pytest.raises(RollbackRefused, match="version 1 is not kept; there is 2"):
        vault.rollback(shop, "shop", "default", "TOKEN", to=1, actor=actor)


def test_mask_and_expiry_follow_the_current_version(shop: Database, actor: Actor, put: Put) -> None:
    """I9: what `list` says is of the version that runs are given; a value without an expiry ends the one before."""
    soon = utc_now() + timedelta(days=5)
    put(b"1234", allow_short=True, expires_at=soon)
    assert (put().maskable, vault.list_secrets(shop, "shop")[0].expires_at) == (True, None)
    back = vault.rollback(shop, "shop", "default", "TOKEN", actor=actor)
    assert (back.maskable, back.expires_at) == (False, soon)
    assert vault.list_secrets(shop, "shop") == [back]
    shown = vault.history(shop, "shop", "default", "TOKEN")
    assert [(view.version, view.current, view.maskable, view.expires_at) for view in shown] == [
        (2, False, True, None),
        (1, True, False, soon),
    ]


def test_what_a_run_was_given_outlives_the_version(shop: Database, keys: LocalKeys, bundled: Bundled, put: Put) -> None:
    """An attempt holds its ciphertexts: no later value takes them from it."""
    put(b"given to a run")
    given = bundled(shop)
    for _ in range(3):
        put(keep=1)
    assert versions(shop) == [4]
    assert [value for _, value in reveal(keys, given)] == [b"given to a run"]


def test_a_destroyed_version_is_written_over(shop: Database, put: Put) -> None:
    """No sealed byte of it is left in the SQLite file, once its log is written back; PostgreSQL has no such row."""
    put(os.urandom(3000).replace(b"\0", b"x"))
    (sealed,) = sealed_rows(shop).values()
    assert sealed[200:300] in stored_bytes(shop)
    put(keep=1)
    assert sealed[200:300] not in stored_bytes(shop)


def stored_bytes(db: Database) -> bytes:
    if db.dialect == "postgresql":
        return b"".join(sealed_rows(db).values())
    file = str(db.engine.url.database)
    db.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(file).read_bytes()


def test_what_is_due_is_found_in_all_projects(shop: Database, actor: Actor, pins: Pins, birth: Birth) -> None:
    """The first ones first, no more than asked for, with how many there are."""
    vault.create_project(shop, "web", actor=actor, birth=birth)
    now = utc_now()
    for project, days in (("shop", (1, 3, 20)), ("web", (2,))):
        entries = [NewSecret("default", f"IN_{day}", b"some value", now + timedelta(days=day)) for day in days]
        entries.append(NewSecret("default", "NEVER", b"some value"))
        vault.store(shop, project, entries, actor=actor, pins=pins)
    due, count = vault.due_secrets(shop, now + timedelta(days=14), 2)
    assert [(view.project, view.environment, view.name) for view in due] == [
        ("shop", "default", "IN_1"),
        ("web", "default", "IN_2"),
    ]
    assert (count, due[0].expires_at) == (3, now + timedelta(days=1))
    assert vault.due_secrets(shop, now, 10) == ([], 0)


def test_names_that_could_share_an_alias_are_found(shop: Database, actor: Actor, pins: Pins) -> None:
    """Those that differ in dots, dashes, underscores and case, and no others; of this environment alone."""
    names = ["mail.key", "mail-key", "MAIL_KEY", "mailkey", "9.x", "_9-x", "_9_X", "other"]
    vault.store(shop, "shop", [NewSecret("default", name, b"some value") for name in names], actor=actor, pins=pins)
    vault.put(shop, "shop", "staging", "Mail.Key", b"some value", actor=actor, pins=pins)
    assert vault.secrets_like(shop, "shop", "default", "mail.key") == {"mail.key", "mail-key", "MAIL_KEY"}
    assert vault.secrets_like(shop, "shop", "default", "9-x") == {"9.x", "_9-x", "_9_X"}
    assert vault.secrets_like(shop, "shop", "default", "_9.x") == {"9.x", "_9-x", "_9_X"}
    assert vault.secrets_among(shop, "shop", "default", ["other", "OTHER", "9.x"]) == {"other", "9.x"}
    vault.require_secrets(shop, "shop", "default", ["other", "9.x"])
    with pytest.raises(UnknownSecret, match=re.escape('no secret "9.y"')) as refusal:
        vault.require_secrets(shop, "shop", "default", ["other", "9.y"])
    assert refusal.value.hint == 'did you mean "9.x"?'


@pytest.mark.long
def test_a_close_name_is_found_among_very_many(shop: Database, actor: Actor, pins: Pins) -> None:
    """Only so many are compared, those whose length is nearest."""
    crowd = [NewSecret("default", f"A{'N' * 30}_{number}", b"some value") for number in range(1500)]
    vault.store(shop, "shop", [*crowd, NewSecret("default", "TOKEN", b"some value")], actor=actor, pins=pins)
    with pytest.raises(UnknownSecret) as refusal:
        vault.history(shop, "shop", "default", "TOKN")
    assert refusal.value.hint == 'did you mean "TOKEN"?'
