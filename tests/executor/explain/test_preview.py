"""A run's environment, foretold: the names are the supervisor's. On both databases."""

from pathlib import Path

import pytest
from sqlalchemy import text

from executor.environment.variables import base_environment, build
from executor.explain.preview import Preview, preview
from executor.runs.grant import Asked
from secretstore import vault
from secretstore.database import Database
from secretstore.key_files import create_local_key
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from secretstore.vault import Actor, NewSecret, NewVariable

ACTOR = Actor("ada@example", "test")


class Shop:
    """A project to store into, and what a run of it would see."""

    def __init__(self, db: Database, folder: Path) -> None:
        create_local_key(folder / "keys" / "local.key")
        keys = LocalKeys(folder / "keys" / "local.key")
        self.db, self.pins = db, Pins(folder / "known_keys", db.url_shown)
        vault.create_project(db, "shop", actor=ACTOR, birth=lambda place, number: generate_wrapped(keys, place, number))

    def store(self, secrets: dict[str, bytes], variables: dict[str, str] | None = None) -> None:
        entries: list[NewSecret | NewVariable] = [
            NewSecret("default", name, value, allow_short=True) for name, value in secrets.items()
        ]
        entries += [NewVariable("default", name, value) for name, value in (variables or {}).items()]
        vault.store(self.db, "shop", entries, actor=ACTOR, pins=self.pins)

    def seen(self, names: list[str] | None = None) -> Preview:
        return preview(self.db, "shop", "default", asked=Asked(secrets=names))


@pytest.fixture
def shop(db: Database, tmp_path: Path) -> Shop:
    return Shop(db, tmp_path)


BASE = base_environment(
    home="/var/tmp/sealrun-runs-0-0123abcd/" + "0" * 32 + "-1/home",
    temporary="/var/tmp/sealrun-runs-0-0123abcd/" + "0" * 32 + "-1/tmp",
    output="/var/tmp/sealrun-runs-0-0123abcd/" + "0" * 32 + "-1/output",
    run_id="0" * 32,
    project="shop",
    environment="default",
    search_path="/opt/py/bin:/usr/local/bin:/usr/bin:/bin",
    user="sealrun",
)


def test_names_are_those_of_the_environment_that_is_built(shop: Shop) -> None:
    """I3: each entry is there, and none beside it."""
    secrets = {"A": b"1", "api.key": b"x" * 60, "mail-key": b"y" * 9}
    variables = {"MODE": "schnell ✓", "EMPTY": ""}
    shop.store(secrets, variables)

    built, seen = build(BASE, variables, secrets), shop.seen()

    assert sorted(entry.name for entry in seen.names) == sorted(name.decode() for name in built.entries)
    assert (seen.refusals, seen.notes, seen.left_out) == ((), (), ())


def test_a_version_that_is_not_sealed_to_the_current_key_is_a_refusal(shop: Shop) -> None:
    """As the run would say."""
    shop.store({"GONE": b"correct-horse", "KEPT": b"correct-horse"})
    with shop.db.writing() as session:
        gone = "(SELECT id FROM secretstore_secret WHERE name = 'GONE')"
        session.execute(text(f"DELETE FROM secretstore_secret_version WHERE secret_id = {gone}"))
    (refusal,) = shop.seen().refusals
    assert str(refusal).startswith('secret "GONE" of shop/default has no value sealed under the current key pair')


def test_a_summary_has_versions_and_whether_there_is_a_value(shop: Shop) -> None:
    """No ciphertext is fetched for it."""
    shop.store({"A": b"x" * 60, "B": b"x" * 61})
    shop.store({"A": b"x" * 61})
    a, b = vault.summarize_secrets(shop.db, "shop", "default")
    assert (a.name, a.version, a.last_version, b.name, b.version, b.maskable) == ("A", 2, 2, "B", 1, True)
    assert a.has_value and b.has_value
