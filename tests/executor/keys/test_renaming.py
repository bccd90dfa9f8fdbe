"""A secret gets another name: what follows its id goes on, and what was sealed for the old name opens for no other."""

from pathlib import Path

import pytest
from sqlmodel import Session, select

from executor.errors import KeyOperationFailed, VersionsBroken
from executor.keys.creation import birth
from executor.keys.renaming import rename
from executor.keys.resealing import Witness
from executor.keys.rotation import rotate
from executor.settings import Settings, read_settings
from secretstore import audit_reading, vault
from secretstore.database import Database
from secretstore.errors import AlreadyExists, InUse, NameRefused, SealBroken, UnknownSecret
from secretstore.key_files import create_local_key
from secretstore.local_keys import LocalKeys
from secretstore.models import Secret, SecretVersion
from secretstore.pins import Pins
from secretstore.reveal import reveal

ACTOR = vault.Actor("ada@here", "test")
OLDER, VALUE = b"an-older-value-of-it", b"hunter2-prod-key-8841"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A home with a key file, and the test's database."""
    found = read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_DATABASE_URL": database_url})
    create_local_key(found.store.key_files[0])
    return found


@pytest.fixture
def pins(settings: Settings, db: Database) -> Pins:
    """What who seals knows."""
    return Pins(settings.store.home / "known_keys", db.url_shown)


@pytest.fixture
def shop(settings: Settings, db: Database, pins: Pins) -> Database:
    """A project with a secret in two versions, and another secret."""
    vault.create_project(db, "shop", actor=ACTOR, birth=birth(settings))
    for name, value in (("API_KEY", OLDER), ("API_KEY", VALUE), ("OTHER", b"another-value-of-it")):
        vault.put(db, "shop", "default", name, value, actor=ACTOR, pins=pins)
    return db


def opened(db: Database, settings: Settings) -> dict[str, bytes]:
    place = vault.get_environment(db, "shop", "default")
    with db.writing() as session:
        bundle = vault.sealed_bundle(session, place.id, None)
    return {item.name: value for item, value in reveal(LocalKeys(settings.store.key_files[0]), bundle)}


def named(db: Database) -> list[str]:
    return [secret.name for secret in vault.list_secrets(db, "shop")]


def test_the_name_changes_and_the_rest_goes_on(shop: Database, settings: Settings) -> None:
    """Its id, its versions, when each was set and by whom; a rollback opens an older one. Both names are on record."""
    before, secret = (
        vault.history(shop, "shop", "default", "API_KEY"),
        vault.secret_id(shop, "shop", "default", "API_KEY"),
    )
    done = rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR)
    assert (done.was, done.secret.name, done.versions) == ("API_KEY", "TOKEN", 2)
    assert vault.history(shop, "shop", "default", "TOKEN") == before
    assert vault.secret_id(shop, "shop", "default", "TOKEN") == secret
    assert opened(shop, settings) == {"TOKEN": VALUE, "OTHER": b"another-value-of-it"}
    vault.rollback(shop, "shop", "default", "TOKEN", actor=ACTOR)
    assert opened(shop, settings)["TOKEN"] == OLDER
    event = audit_reading.list_events(shop, "shop")[-2]
    assert (event.action, event.subject, event.actor) == ("secret.rename", "default/TOKEN", ACTOR.name)
    assert '"from":"API_KEY"' in event.detail.replace(" ", "") and '"to":"TOKEN"' in event.detail.replace(" ", "")
    with pytest.raises(UnknownSecret):
        rename(settings, shop, "shop", "default", "API_KEY", "AGAIN", actor=ACTOR)


def test_i2_a_value_of_the_old_name_does_not_open_for_the_new(shop: Database, settings: Settings) -> None:
    """Who writes to the database renames nothing: the name is a part of what the value is sealed for."""
    with shop.writing() as session:
        session.exec(select(Secret).where(Secret.name == "API_KEY")).one().name = "TOKEN"
    with pytest.raises(SealBroken):
        opened(shop, settings)


def test_taken_names_are_refused_and_connections_are_named(shop: Database, settings: Settings) -> None:
    """A secret's, a variable's, one that breaks the rule; a source that names it keeps its name, without force."""
    vault.set_variable(shop, "shop", "default", "LEVEL", "debug", actor=ACTOR)
    for new, refusal in (
        ("OTHER", AlreadyExists), ("LEVEL", AlreadyExists), ("API_KEY", AlreadyExists), ("a b", NameRefused),
    ):  # fmt: skip
        with pytest.raises(refusal):
            rename(settings, shop, "shop", "default", "API_KEY", new, actor=ACTOR)
    lake = {"bucket": "b", "credentials": {"$secret": "API_KEY"}}
    vault.create_connection(shop, "shop", "default", "source", "lake", "s3", lake, actor=ACTOR)
    with pytest.raises(InUse, match="source lake"):
        rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR)
    assert named(shop) == ["API_KEY", "OTHER"]
    rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR, force=True)
    assert named(shop) == ["OTHER", "TOKEN"]


class At(Witness):
    """Does something at a step."""

    def __init__(self, step: str, act: object) -> None:
        self._step, self._act = step, act

    def given(self, items: object) -> None:
        self._at("given")

    def committing(self, session: Session, done: object) -> None:
        self._at("committing")

    def _at(self, step: str) -> None:
        if step == self._step:
            self._step = ""
            self._act()  # type: ignore[operator]


def test_what_is_set_meanwhile_is_renamed_too(shop: Database, settings: Settings, pins: Pins) -> None:
    """Between the reading and the act."""
    later = At(
        "given", lambda: vault.put(shop, "shop", "default", "API_KEY", b"set-in-between-of", actor=ACTOR, pins=pins)
    )
    done = rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR, witness=later)
    assert done.versions == 3 and opened(shop, settings)["TOKEN"] == b"set-in-between-of"


def test_a_rotation_in_between_is_renamed_after(shop: Database, settings: Settings, pins: Pins) -> None:
    """The secret is sealed to another key pair by then: it begins anew."""
    turn = At("given", lambda: rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins))
    assert rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR, witness=turn).versions == 2
    assert opened(shop, settings)["TOKEN"] == VALUE


@pytest.mark.parametrize("step", ["given", "resealed"])
def test_a_rename_during_a_rotation_opens_after_it(shop: Database, settings: Settings, pins: Pins, step: str) -> None:
    """I2: what the rotation has sealed for the old name, and what it is about to store, is sealed for the new one."""

    def turn() -> None:
        rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR)

    done: list[str] = []

    def tell(at: str, _: int) -> None:
        if at == step and not done:
            done.append(at)
            turn()

    witness = At("given", turn) if step == "given" else Witness()
    assert rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins, witness=witness, tell=tell).generation == 2
    assert opened(shop, settings) == {"TOKEN": VALUE, "OTHER": b"another-value-of-it"}


def test_what_cannot_be_opened_changes_nothing(shop: Database, settings: Settings) -> None:
    """I9: an altered version, a key file that is away, an act that is not to be committed."""

    class Stale(Exception):
        pass

    def stale() -> None:
        raise Stale

    with pytest.raises(Stale):
        rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR, witness=At("committing", stale))
    away = settings.store.key_files[0].rename(settings.store.home / "away")
    with pytest.raises(KeyOperationFailed, match="was not renamed: no key file at") as refusal:
        rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR)
    assert refusal.value.names["unopened"] == "key_file_missing", "another process may open it"
    away.rename(settings.store.key_files[0])
    assert opened(shop, settings)["API_KEY"] == VALUE
    with shop.writing() as session:
        row = session.exec(
            select(SecretVersion).where(
                SecretVersion.version == 1, Secret.name == "API_KEY", SecretVersion.secret_id == Secret.id
            )
        ).one()
        row.sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
    with pytest.raises(VersionsBroken, match=r"(?m)API_KEY 1$"):
        rename(settings, shop, "shop", "default", "API_KEY", "TOKEN", actor=ACTOR)
    assert named(shop) == ["API_KEY", "OTHER"] and opened(shop, settings)["API_KEY"] == VALUE
