"""A run's environment, foretold: the names are the supervisor's, the sizes are true bounds. On both databases."""

from pathlib import Path

import pytest
from sqlalchemy import text

from executor.environment.variables import STRING_LIMIT, TOTAL_LIMIT, base_environment, build, total_size
from executor.explain.preview import Preview, preview
from executor.runs.grant import Asked
from secretstore import vault
from secretstore.database import Database
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys, create_local_key
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
        return preview(self.db, "shop", "default", python="/opt/py/bin/python", asked=Asked(secrets=names))


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
)


def test_names_and_bounds_are_those_of_the_environment_that_is_built(shop: Shop) -> None:
    """I3: each entry is there, none beside it, and none is larger than was said."""
    secrets = {"A": b"1", "api.key": b"x" * 60, "B": b"x" * 61, "C": b"x" * 40_000, "mail-key": b"y" * 9}
    variables = {"MODE": "schnell ✓", "EMPTY": ""}
    shop.store(secrets, variables)

    built, seen = build(BASE, variables, secrets), shop.seen()

    assert sorted(entry.name for entry in seen.names) == sorted(name.decode() for name in built.entries)
    for entry in seen.names:
        assert len(entry.name) + 1 + len(built.entries[entry.name.encode()]) <= entry.bytes_at_most
    exact = total_size({name.decode(): len(value) for name, value in built.entries.items()})
    assert exact <= seen.bytes_at_most <= 2 * exact + 4 * 4096
    assert (seen.refusals, seen.notes, seen.left_out) == ((), (), ())


def test_what_cannot_fit_is_refused_and_what_may_not_is_a_note(shop: Shop) -> None:
    """The padding hides a size up to a factor of two: certain is only what is above the limit at its smallest."""
    shop.store({f"S{number}": b"x" * 100_000 for number in range(16)})
    doubtful = shop.seen()
    assert doubtful.refusals == ()
    assert [note.partition(":")[0] for note in doubtful.notes] == [
        "the environment may be larger than the kernel passes"
    ]

    shop.store({f"T{number}": b"x" * 100_000 for number in range(16)})
    (refusal,) = shop.seen().refusals
    assert str(refusal).startswith("the environment of this run is larger than the kernel passes to a program: 2,0")
    assert str(refusal).endswith(f"at most {TOTAL_LIMIT:,}")
    assert shop.seen(["S1", "S2"]).refusals == ()


def test_an_entry_is_bounded_by_what_set_takes(shop: Shop) -> None:
    """The longest value is padded to twice its size; an alias may be a byte longer than its name."""
    shop.store(
        {"LONGEST": b"x" * (STRING_LIMIT - len("LONGEST=")), "1": b"x" * (STRING_LIMIT - 2), "2a": b"x" * 70_000}
    )
    seen = shop.seen()
    bounds = {entry.name: entry.bytes_at_most for entry in seen.names}
    assert bounds["LONGEST"] == bounds["1"] == bounds["2a"] == STRING_LIMIT
    (refusal,) = seen.refusals
    assert str(refusal).startswith("_1 is larger than the kernel passes to a program: 131,072 bytes")
    assert seen.notes == (f"_2A may be larger than the kernel passes: at most 131,072 bytes of {STRING_LIMIT:,}",)


def test_a_version_that_is_not_sealed_to_the_current_key_is_a_refusal(shop: Shop) -> None:
    """As the run would say."""
    shop.store({"GONE": b"correct-horse", "KEPT": b"correct-horse"})
    with shop.db.writing() as session:
        gone = "(SELECT id FROM secretstore_secret WHERE name = 'GONE')"
        session.execute(text(f"DELETE FROM secretstore_secret_version WHERE secret_id = {gone}"))
    (refusal,) = shop.seen().refusals
    assert str(refusal).startswith('secret "GONE" of shop/default has no value sealed under the current key pair')


def test_an_outline_says_what_is_sealed_without_fetching_it(shop: Shop) -> None:
    """Versions, and the size to the byte, on both databases."""
    shop.store({"A": b"x" * 60, "B": b"x" * 61})
    shop.store({"A": b"x" * 61})
    a, b = vault.outline(shop.db, "shop", "default")
    assert (a.name, a.version, a.last_version, b.name, b.version, b.maskable) == ("A", 2, 2, "B", 1, True)
    assert (a.sealed_bytes, b.sealed_bytes) == (38 + 1136 + 128,) * 2
