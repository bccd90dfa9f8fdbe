"""Key pairs and the record: who rotated, who rewrapped, and that what waits is linked before it is shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from executor.operations import audit, keys
from executor.operations.deployment import Deployment
from executor.schemas.audit import Chain, Events
from executor.schemas.keys import KeyRotation, KeyTrust, NewKeyFile, RewrappedKey, Rewrapping
from executor.schemas.places import InProject
from executor.settings import read_settings
from secretstore import vault
from secretstore.audit import append_later
from secretstore.errors import AlreadyExists, FingerprintWrong
from secretstore.timestamps import utc_now
from secretstore.views import Head
from tests.executor.operations.conftest import WHO, Shop


def test_a_rotation_is_of_who_asks_and_leaves_one_key(shop: Shop) -> None:
    """The old private key is destroyed at once, as no run was given it; both stand in the record."""
    shop.seal("API_KEY")
    done = keys.rotate(shop.at, WHO, KeyRotation(project="shop", environment="default"))
    assert (done.generation, done.resealed, done.previous_destroyed) == (2, 1, True)
    events = shop.events()[-2:]
    assert [(event.action, event.actor, event.origin) for event in events] == [
        ("key.rotate", WHO.name, WHO.origin),
        ("key.destroy", WHO.name, WHO.origin),
    ]
    listed = keys.list_(shop.at, WHO, InProject(project="shop", environment="default"))
    assert [key.state for key in listed] == ["destroyed", "current"]
    known = shop.at.pins.known("shop", "default")
    assert known is not None and known.fingerprint == done.fingerprint


def test_keys_are_wrapped_anew_for_who_asks(shop: Shop, tmp_path: Path) -> None:
    """Each is told as it is done; said again, nothing changes."""
    made = keys.create_file(NewKeyFile(path=str(tmp_path / "new.key")))
    with pytest.raises(AlreadyExists):
        keys.create_file(NewKeyFile(path=made.path))
    settings = read_settings(
        {
            "SEALRUN_HOME": str(shop.at.settings.store.home),
            "SEALRUN_DATABASE_URL": shop.at.settings.store.database_url,
            "SEALRUN_KEYS": f"local:{made.path},local:{shop.key_file}",
        }
    )
    at = Deployment(settings, shop.at.db)
    told: list[RewrappedKey] = []
    done = keys.rewrap(at, WHO, Rewrapping(project="shop"), tell=told.append)
    assert tuple(told) == done.keys and (len(done.keys), done.of) == (2, 2)
    assert {key.to_key_service for key in done.keys} == {made.id}
    assert [(event.action, event.actor) for event in shop.events()[-2:]] == [("key.rewrap", WHO.name)] * 2
    assert keys.rewrap(at, WHO, Rewrapping()).keys == ()


def test_a_fingerprint_of_another_key_is_not_remembered(shop: Shop) -> None:
    """What was known stays; the right one is remembered, and the answer says what was known before."""
    before = shop.at.pins.known("shop", "default")
    with pytest.raises(FingerprintWrong):
        keys.trust(shop.at, WHO, KeyTrust(project="shop", environment="default", fingerprint="0" * 16))
    assert before is not None and shop.at.pins.known("shop", "default") == before
    shop.at.pins.remember("shop", "default", replace(before, fingerprint="0" * 64))
    trusted = keys.trust(shop.at, WHO, KeyTrust(project="shop", environment="default", fingerprint=before.fingerprint))
    assert trusted.now.fingerprint == before.fingerprint
    assert trusted.before is not None and trusted.before.fingerprint == "0" * 64


def test_what_runs_left_waiting_belongs_to_the_answer(shop: Shop) -> None:
    """It is linked first; filters choose, and a head that was kept elsewhere is found again."""
    place = vault.get_project(shop.at.db, "shop")
    with shop.at.db.writing() as session:
        append_later(
            session,
            place.id,
            "shop",
            actor=WHO,
            action="secrets.open",
            subject="default",
            at=utc_now(),
        )
    found = audit.list_(shop.at, WHO, Events(project="shop", action="secrets.*"))
    assert [event.action for event in found.events] == ["secrets.open"] and found.waiting == 0
    verified = audit.verify(shop.at, WHO, Chain(project="shop"))
    assert verified.found.ok and verified.found.checked == len(shop.events())
    kept = Head.parse(verified.found.head)
    assert audit.verify(shop.at, WHO, Chain(project="shop", expect=kept)).found.ok
    wrong = Head("0" * 64, kept.sequence)
    assert not audit.verify(shop.at, WHO, Chain(project="shop", expect=wrong)).found.ok
