"""The vault: what it stores, lists and refuses, on both databases."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlmodel import Session, select

from secretstore import audit_reading, vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database
from secretstore.errors import (
    AlreadyExists,
    EnvironmentGone,
    KeyChanged,
    NameRefused,
    RowUnreadable,
    SecretStoreError,
    UnknownEnvironment,
    UnknownProject,
    UnknownSecret,
    UnknownVariable,
    ValueRefused,
)
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.local_keys import LocalKeys
from secretstore.models import Project, Secret
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.vault import Actor, Birth

Bundled = Callable[..., SealedBundle]

CANARY = b"canary-5d1f0b7e-value"


def opened(keys: LocalKeys, bundle: SealedBundle) -> dict[str, bytes]:
    return {item.name: value for item, value in reveal(keys, bundle)}


def test_what_is_put_can_be_revealed(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """A stored secret opens under its name, byte for byte, with the key service."""
    value = bytes(range(1, 256))
    view = vault.put(shop, "shop", "default", "api.key", value, actor=actor, pins=pins)
    assert (view.name, view.environment, view.version, view.maskable) == ("api.key", "default", 1, True)
    assert opened(keys, bundled(shop)) == {"api.key": value}


def test_a_new_value_is_a_new_version(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """Setting again raises the version, keeps the id and the first author, and the run gets the newest."""
    first = vault.put(shop, "shop", "default", "TOKEN", b"first value", actor=actor, pins=pins)
    second = vault.put(shop, "shop", "default", "TOKEN", b"second value", actor=Actor("bob@example", "test"), pins=pins)
    assert (second.id, second.version) == (first.id, 2)
    assert (second.created_by, second.updated_by) == ("ada@example", "bob@example")
    assert second.created_at == first.created_at < second.updated_at
    assert opened(keys, bundled(shop)) == {"TOKEN": b"second value"}
    versions = vault.history(shop, "shop", "default", "TOKEN")
    assert [(version.version, version.created_by, version.current) for version in versions] == [
        (2, "bob@example", True),
        (1, "ada@example", False),
    ]


def test_i1_putting_needs_no_private_key(
    shop: Database, actor: Actor, keys: LocalKeys, key_file: Path, bundled: Bundled, pins: Pins
) -> None:
    """I1: with the key file gone a secret is stored and listed; it opens when the file is back."""
    away = key_file.rename(key_file.with_name("away.key"))
    vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    assert [view.name for view in vault.list_secrets(shop, "shop")] == ["TOKEN"]
    bundle = bundled(shop)
    with pytest.raises(SecretStoreError, match="no key file"):
        opened(keys, bundle)
    away.rename(key_file)
    assert opened(keys, bundle) == {"TOKEN": CANARY}


def test_environments_do_not_inherit(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """Each environment has its own secrets and its own key pair."""
    vault.put(shop, "shop", "default", "TOKEN", b"of default", actor=actor, pins=pins)
    vault.put(shop, "shop", "staging", "TOKEN", b"of staging", actor=actor, pins=pins)
    vault.put(shop, "shop", "staging", "OTHER", b"only there", actor=actor, pins=pins)
    assert opened(keys, bundled(shop)) == {"TOKEN": b"of default"}
    assert opened(keys, bundled(shop, "staging")) == {"OTHER": b"only there", "TOKEN": b"of staging"}
    listed = [(view.environment, view.name) for view in vault.list_secrets(shop, "shop")]
    assert listed == [("default", "TOKEN"), ("staging", "OTHER"), ("staging", "TOKEN")]
    assert [view.name for view in vault.list_secrets(shop, "shop", "staging")] == ["OTHER", "TOKEN"]
    environments = vault.list_environments(shop, "shop")
    assert [view.name for view in environments] == ["default", "staging"]
    assert environments[0].fingerprint != environments[1].fingerprint


def test_a_run_takes_the_secrets_it_names(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """A bundle holds the named secrets alone; none needs no key; an unknown name is an error with a hint."""
    for name in ("A_TOKEN", "B_TOKEN", "C_TOKEN"):
        vault.put(shop, "shop", "default", name, name.encode() + b" value", actor=actor, pins=pins)
    assert list(opened(keys, bundled(shop, names=["C_TOKEN", "A_TOKEN"]))) == ["A_TOKEN", "C_TOKEN"]
    assert bundled(shop, names=[]).items == ()
    with pytest.raises(UnknownSecret) as refusal:
        bundled(shop, names=["A_TOKEN", "B_TOKN"])
    assert str(refusal.value) == 'no secret "B_TOKN" in shop/default'
    assert refusal.value.hint == 'did you mean "B_TOKEN"?'
    with shop.writing() as session, pytest.raises(EnvironmentGone):
        vault.sealed_bundle(session, "f" * 32, None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "empty"),
        (b"with\0nul inside", "NUL"),
        (b"canary!", "fewer than 8 bytes"),
        (b"c" * (131_071 - len("TOKEN=") + 1), "longer than 131,071 bytes"),
    ],
)
def test_i10_a_refused_value_is_not_quoted(shop: Database, actor: Actor, value: bytes, why: str, pins: Pins) -> None:
    """I10: the error says which rule the value breaks, and nothing of the value; nothing is stored."""
    with pytest.raises(ValueRefused, match=why) as refusal:
        vault.put(shop, "shop", "default", "TOKEN", value, actor=actor, pins=pins)
    assert 'the value of "TOKEN"' in str(refusal.value)
    assert not value or value.decode() not in repr(refusal.value)
    assert vault.list_secrets(shop, "shop") == []


def test_the_limits_themselves_are_accepted(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """Eight bytes are maskable, a short value is taken when asked for, the longest fits with its name."""
    longest = b"x" * (131_071 - len("LONG="))
    assert vault.put(shop, "shop", "default", "EIGHT", b"12345678", actor=actor, pins=pins).maskable
    assert not vault.put(shop, "shop", "default", "PIN", b"1234", actor=actor, pins=pins, allow_short=True).maskable
    assert vault.put(shop, "shop", "default", "LONG", longest, actor=actor, pins=pins).maskable
    assert opened(keys, bundled(shop)) == {"EIGHT": b"12345678", "PIN": b"1234", "LONG": longest}
    assert vault.put(shop, "shop", "default", "PIN", b"long enough", actor=actor, pins=pins).maskable


def test_a_file_may_hold_any_bytes(shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins) -> None:
    """A key store has NUL bytes: it is taken where runs find it as a file, and said where they would not."""
    store = bytes(range(256)) * 4
    with pytest.raises(ValueRefused) as refusal:
        vault.put(shop, "shop", "default", "STORE", store, actor=actor, pins=pins)
    assert refusal.value.hint == "runs can get it as a file: sealrun secret set STORE --as-file"
    vault.put(shop, "shop", "default", "STORE", store, actor=actor, pins=pins, as_file=True)
    assert opened(keys, bundled(shop)) == {"STORE": store}


def test_a_name_is_a_secret_or_a_variable(shop: Database, actor: Actor, pins: Pins) -> None:
    """The same name cannot be both in one environment, and can in two."""
    vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    vault.set_variable(shop, "shop", "default", "REGION", "eu", actor=actor)
    with pytest.raises(NameRefused, match="a secret of default has it"):
        vault.set_variable(shop, "shop", "default", "TOKEN", "x", actor=actor)
    with pytest.raises(NameRefused, match="a variable of default has it"):
        vault.put(shop, "shop", "default", "REGION", CANARY, actor=actor, pins=pins)
    vault.set_variable(shop, "shop", "staging", "TOKEN", "x", actor=actor)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "SEALRUN_X", "with space", ""])
def test_refused_names_are_refused_by_both(shop: Database, actor: Actor, name: str, pins: Pins) -> None:
    """Secrets and variables share the rule for names."""
    with pytest.raises(NameRefused):
        vault.put(shop, "shop", "default", name, CANARY, actor=actor, pins=pins)
    with pytest.raises(NameRefused):
        vault.set_variable(shop, "shop", "default", name, "x", actor=actor)


def test_variables_are_set_listed_and_deleted(shop: Database, actor: Actor) -> None:
    """A variable shows its value, keeps its author when it changes, and goes."""
    vault.set_variable(shop, "shop", "default", "REGION", "eu", actor=actor)
    vault.set_variable(shop, "shop", "default", "REGION", "", actor=Actor("bob@example", "test"))
    vault.set_variable(shop, "shop", "default", "DEBUG", "ü=1\n", actor=actor)
    listed = vault.list_variables(shop, "shop", "default")
    assert [(view.name, view.value) for view in listed] == [("DEBUG", "ü=1\n"), ("REGION", "")]
    assert (listed[1].created_by, listed[1].updated_by) == ("ada@example", "bob@example")
    vault.delete_variable(shop, "shop", "default", "REGION", actor=actor)
    assert [view.name for view in vault.list_variables(shop, "shop")] == ["DEBUG"]
    with pytest.raises(UnknownVariable):
        vault.delete_variable(shop, "shop", "default", "REGION", actor=actor)


@pytest.mark.parametrize("value", ["with\0nul", "x" * 131_071, "ü" * 65_536, "\udc80"])
def test_a_variable_must_fit_an_environment(shop: Database, actor: Actor, value: str) -> None:
    """A NUL, too many bytes, or what is not UTF-8 is refused before it is stored."""
    with pytest.raises(ValueRefused):
        vault.set_variable(shop, "shop", "default", "REGION", value, actor=actor)


def test_a_deleted_secret_is_gone(shop: Database, actor: Actor, bundled: Bundled, pins: Pins) -> None:
    """Deleting takes all versions; the name can be used again, as another secret at version 1."""
    first = vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    vault.delete_secret(shop, "shop", "default", "TOKEN", actor=actor)
    assert bundled(shop).items == ()
    with pytest.raises(UnknownSecret):
        vault.history(shop, "shop", "default", "TOKEN")
    again = vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    assert again.version == 1
    assert again.id != first.id


def test_projects_are_made_changed_listed_and_deleted(db: Database, actor: Actor, birth: Birth, pins: Pins) -> None:
    """A project has an environment from its start, keeps the settings not named, and goes with all it has."""
    made = vault.create_project(db, "web-2", actor=actor, birth=birth)
    assert (made.network, made.sandbox_min, made.max_running) == ("full", "process", None)
    assert vault.get_environment(db, "web-2", "default").generation == 1
    vault.set_project(db, "web-2", network="none", max_running=3, actor=actor)
    changed = vault.set_project(db, "web-2", sandbox_min="landlock", actor=actor)
    assert (changed.network, changed.sandbox_min, changed.max_running) == ("none", "landlock", 3)
    vault.create_project(db, "a", actor=actor, birth=birth)
    assert [view.name for view in vault.list_projects(db)] == ["a", "web-2"]
    vault.put(db, "web-2", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    vault.set_variable(db, "web-2", "default", "REGION", "eu", actor=actor)
    vault.destroy_project(db, "web-2", actor=actor)
    assert vault.list_projects(db) == [vault.get_project(db, "a")]
    again = vault.create_project(db, "web-2", actor=actor, birth=birth)
    assert again.id != made.id
    assert vault.list_secrets(db, "web-2") == vault.list_variables(db, "web-2") == []


def test_an_environment_is_deleted_with_what_it_has(shop: Database, actor: Actor, pins: Pins) -> None:
    """The other environments keep theirs."""
    for environment in ("default", "staging"):
        vault.put(shop, "shop", environment, "TOKEN", CANARY, actor=actor, pins=pins)
    vault.delete_environment(shop, "shop", "staging", actor=actor)
    assert [view.name for view in vault.list_environments(shop, "shop")] == ["default"]
    assert [view.environment for view in vault.list_secrets(shop, "shop")] == ["default"]


def test_a_name_is_taken_once(shop: Database, actor: Actor, birth: Birth) -> None:
    """A second project or environment of a name is refused before a key pair is made for it."""

    def never(project_id: str, environment_id: str, generation: int) -> WrappedKeyPair:
        pytest.fail("a key pair was made for a name that is taken")

    with pytest.raises(AlreadyExists, match='project "shop"'):
        vault.create_project(shop, "shop", actor=actor, birth=never)
    with pytest.raises(AlreadyExists, match='environment "staging"'):
        vault.create_environment(shop, "shop", "staging", actor=actor, birth=never)


def test_of_two_creators_one_is_told(shop: Database, actor: Actor, birth: Birth) -> None:
    """Who is overtaken while the key pair is being made is refused as if later."""

    def late(place: KeyPlace, generation: int) -> WrappedKeyPair:
        if not any(view.name == "web" for view in vault.list_projects(shop)):
            vault.create_project(shop, "web", actor=actor, birth=birth)
        return birth(place, generation)

    with pytest.raises(AlreadyExists, match='project "web"'):
        vault.create_project(shop, "web", actor=actor, birth=late)
    assert vault.get_environment(shop, "web", "default").generation == 1


def test_of_two_creators_at_once_one_is_told(shop: Database, actor: Actor, birth: Birth) -> None:
    """A name that is being created in an open transaction is refused once that is kept."""
    with ThreadPoolExecutor(1) as thread, shop.writing() as session:
        session.add(Project(name="web", network="full", sandbox_min="process", max_running=1, created_by="x"))
        session.flush()
        second = thread.submit(vault.create_project, shop, "web", actor=actor, birth=birth)
        if shop.dialect == "postgresql":  # on SQLite the second cannot even begin
            _wait_until_someone_waits(session)
        session.commit()
        with pytest.raises(AlreadyExists, match='project "web"'):
            second.result(30)


def _wait_until_someone_waits(session: Session) -> None:
    until = time.monotonic() + 30
    for_us = "NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    while not session.execute(text(f"SELECT count(*) FROM pg_locks WHERE {for_us}")).scalar():
        assert time.monotonic() < until, "nobody waits"


def test_a_run_gets_the_current_version_not_the_last(
    shop: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """What `current_version` names is what opens, whatever came later."""
    for value in (b"first value", b"second value", b"third value"):
        vault.put(shop, "shop", "default", "TOKEN", value, actor=actor, pins=pins)
    with shop.writing() as session:
        session.exec(select(Secret)).one().current_version = 2
    assert opened(keys, bundled(shop)) == {"TOKEN": b"second value"}
    assert [view.current for view in vault.history(shop, "shop", "default", "TOKEN")] == [False, True, False]
    assert vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins).version == 4


def test_an_unknown_place_gets_a_hint(shop: Database, actor: Actor, pins: Pins) -> None:
    """A close name is suggested; without one, the command or the choice there is."""
    cases: list[tuple[type[SecretStoreError], tuple[str, str], str, str]] = [
        (UnknownProject, ("shpo", "default"), 'no project "shpo"', 'did you mean "shop"?'),
        (UnknownProject, ("zzz", "default"), 'no project "zzz"', "create it: sealrun project create zzz"),
        (
            UnknownEnvironment,
            ("shop", "stagin"),
            'no environment "stagin" in project "shop"',
            'did you mean "staging"?',
        ),
        (
            UnknownEnvironment,
            ("shop", "xyz"),
            'no environment "xyz" in project "shop"',
            "the project has default, staging",
        ),
    ]
    for error, place, message, hint in cases:
        with pytest.raises(error) as refusal:
            vault.put(shop, *place, "TOKEN", CANARY, actor=actor, pins=pins)
        assert (str(refusal.value), refusal.value.hint) == (message, hint)
    with pytest.raises(UnknownSecret) as refusal:
        vault.delete_secret(shop, "shop", "staging", "TOKEN", actor=actor)
    assert refusal.value.hint == "list them: sealrun secret list -p shop -e staging"


def test_i1_no_view_and_no_row_holds_a_value(
    shop: Database, actor: Actor, tmp_path: Path, bundled: Bundled, pins: Pins
) -> None:
    """I1: neither the views, the audit trail, the bundle nor the database's bytes hold the value."""
    view = vault.put(shop, "shop", "default", "TOKEN", CANARY, actor=actor, pins=pins)
    shown = [view, vault.list_secrets(shop, "shop"), vault.history(shop, "shop", "default", "TOKEN")]
    shown += [audit_reading.list_events(shop, "shop"), bundled(shop), bundled(shop).to_json(), shop]
    assert CANARY.decode() not in repr(shown)
    stored = _all_bytes(shop, tmp_path)
    assert b"secret.set" in stored
    assert CANARY not in stored
    assert CANARY.hex().encode() not in stored


def _all_bytes(db: Database, folder: Path) -> bytes:
    if db.dialect == "sqlite":
        return b"".join(file.read_bytes() for file in (folder / "store").iterdir())
    with db.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = [connection.execute(text(f'SELECT t::text FROM "{table}" t')).all() for table in tables]
    return repr(rows).encode()


def test_rows_that_no_sealrun_wrote_are_told_in_a_sentence(shop: Database) -> None:
    """A key pair that is missing, and in SQLite a moment that is none: an error of ours, not one of whatever reads."""
    with shop.writing() as session:
        session.execute(text("UPDATE secretstore_environment SET generation = 7 WHERE name = 'staging'"))
    with pytest.raises(KeyChanged, match="its generation 7 is missing"):
        vault.get_environment(shop, "shop", "staging")
    if shop.dialect == "sqlite":
        with shop.writing() as session:
            session.execute(text("UPDATE secretstore_project SET created_at = 'no moment'"))
        with pytest.raises(RowUnreadable):
            vault.list_projects(shop)
