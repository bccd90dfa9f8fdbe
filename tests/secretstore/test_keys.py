"""Rotation, rewrapping and destruction of key pairs, as the database has them."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlmodel import Session, col, select

from secretstore import audit_reading, sealing, vault
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import Database
from secretstore.errors import (
    EnvironmentGone,
    KeyChanged,
    KeyFileUnusable,
    RotationOvertaken,
    SealBroken,
    SecretStoreError,
    UnknownProject,
    WrapBroken,
)
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess
from secretstore.keyring import wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.models import Environment, KeyPair, Secret, SecretVersion
from secretstore.pins import Pins
from secretstore.reveal import Resealer, reveal
from secretstore.unwrapping import rewrap_pair, unwrapping
from secretstore.vault import Actor, PlacedKey, Rotation
from tests.processes import eventually

Bundled = Callable[..., SealedBundle]


class Turning:
    """A rotation in its steps; the product has its opening in a process of its own."""

    def __init__(self, db: Database, keys: LocalKeys, pins: Pins, actor: Actor, environment: str = "default") -> None:
        self.db, self.actor = db, actor
        begun = vault.sealing_key(db, "shop", environment, pins=pins)
        self.resealer = Resealer(keys, keys, begun.place, begun.pair)
        self.rotation = Rotation(begun.place, begun.pair, self.resealer.successor, self.resealer.voucher)

    def add(self) -> str | None:
        return vault.add_successor(self.db, self.rotation, actor=self.actor)

    def reseal(self, items: Sequence[SealedItem]) -> list[bytes | None]:
        return list(self.resealer.reseal(items))

    def batch(self) -> int:
        (items,) = vault.unresealed(self.db, self.rotation)
        return vault.add_resealed(self.db, self.rotation, list(zip(items, self.reseal(items), strict=True)))

    def flip(self) -> int:
        return vault.flip(self.db, self.rotation, self.reseal, actor=self.actor)


Turn = Callable[..., Turning]


@pytest.fixture
def turn(shop: Database, keys: LocalKeys, pins: Pins, actor: Actor) -> Turn:
    """Begins a rotation of an environment of `shop`."""
    return lambda environment="default": Turning(shop, keys, pins, actor, environment)


@pytest.fixture
def put(shop: Database, actor: Actor, pins: Pins) -> Callable[..., object]:
    """Stores a value."""
    return lambda name, value, environment="default": vault.put(
        shop, "shop", environment, name, value, actor=actor, pins=pins
    )


@pytest.fixture
def stocked(shop: Database, put: Callable[..., object]) -> Database:
    """ONE with three versions, TWO with one, and one of staging's."""
    for number in (1, 2, 3):
        put("ONE", b"value one, number %d" % number)
    put("TWO", b"value of two")
    put("ONE", b"value one of staging", "staging")
    return shop


def opened(keys: LocalKeys, bundle: SealedBundle) -> dict[str, bytes]:
    return {item.name: value for item, value in reveal(keys, bundle)}


def environment(session: Session, name: str = "default") -> Environment:
    return session.exec(select(Environment).where(Environment.name == name)).one()


def versions(db: Database, generation: int, name: str = "default") -> set[tuple[str, int]]:
    """Which versions are sealed under a generation."""
    with db.reading() as session:
        query = select(Secret.name, SecretVersion.version).where(
            SecretVersion.secret_id == Secret.id,
            SecretVersion.generation == generation,
            Secret.environment_id == environment(session, name).id,
        )
        return set(session.exec(query))


def waiting(db: Database) -> bool:
    """Whether somebody waits for a lock of this database."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with db.reading() as session:
        return bool(session.connection().exec_driver_sql(asked).scalar_one())


ALL = {("ONE", 1), ("ONE", 2), ("ONE", 3), ("TWO", 1)}


class TestRotation:
    def test_every_kept_version_opens_under_the_next_generation(
        self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled, actor: Actor
    ) -> None:
        """Runs read the old generation until the flip and the next after it; history and audit tell who did what."""
        before = vault.history(stocked, "shop", "default", "ONE")
        turning = turn()
        assert turning.add() is None and turning.batch() == 4
        assert versions(stocked, 1) == versions(stocked, 2) == ALL
        assert bundled(stocked).generation == 1 and opened(keys, bundled(stocked))["ONE"] == b"value one, number 3"
        assert turning.flip() == 0
        bundle = bundled(stocked)
        assert (bundle.generation, bundle.fingerprint) == (2, turning.rotation.successor.fingerprint)
        assert opened(keys, bundle) == {"ONE": b"value one, number 3", "TWO": b"value of two"}
        assert vault.history(stocked, "shop", "default", "ONE") == before
        last = audit_reading.list_events(stocked, "shop")[-1]
        assert (last.action, last.subject, last.actor) == ("key.rotate", "default", actor.name)
        assert json.loads(last.detail)["generation"] == 2 and audit_reading.verify(stocked, "shop").ok
        assert bundled(stocked, "staging").generation == 1

    def test_a_run_that_comes_to_its_gate_meanwhile_gets_one_key_pair(
        self, stocked: Database, keys: LocalKeys, turn: Turn
    ) -> None:
        """I2: it waits for a flip that is about to be committed, and is given the key and all values of the next."""
        turning, given = turn(), []
        turning.add()
        turning.batch()
        with stocked.reading() as session:
            place = environment(session).id

        def read() -> None:
            with stocked.acting() as transaction:
                given.append(vault.sealed_bundle(transaction, place, None))

        run = threading.Thread(target=read)

        def come(_: object) -> None:
            run.start()
            if stocked.dialect == "postgresql":  # SQLite has one writer at a time
                eventually(lambda: waiting(stocked), 60, "the run waits for the flip")

        event.listen(stocked.engine, "commit", come, once=True)
        turning.flip()
        run.join()
        (bundle,) = given
        assert (bundle.generation, bundle.fingerprint) == (2, turning.rotation.successor.fingerprint)
        assert opened(keys, bundle) == {"ONE": b"value one, number 3", "TWO": b"value of two"}

    def test_sources_and_catalogs_know_nothing_of_it(self, stocked: Database, turn: Turn, actor: Actor) -> None:
        """They are sealed nowhere: settings, what they name, and the plan of a run stay as they are."""
        settings = {"bucket": "lake", "credentials": {"$secret": "TWO"}}
        made = vault.create_connection(stocked, "shop", "default", "source", "lake", "s3", settings, actor=actor)
        with stocked.reading() as session:
            plan = vault.connection_plan(session, environment(session).id)
        turning = turn()
        assert turning.add() is None and turning.batch() == 4 and turning.flip() == 0
        assert made.missing == () and vault.list_connections(stocked, "shop") == [made]
        with stocked.reading() as session:
            assert vault.connection_plan(session, environment(session).id) == plan

    def test_more_than_a_batch(
        self, shop: Database, keys: LocalKeys, turn: Turn, bundled: Bundled, actor: Actor, pins: Pins
    ) -> None:
        """Batches meet each version once, those of other environments never; the flip alone could carry all over."""
        wanted = {f"S{number:03}": b"value number %03d" % number for number in range(205)}
        for environment_ in ("default", "staging"):
            entries = [vault.NewSecret(environment_, name, value) for name, value in wanted.items()]
            vault.store(shop, "shop", entries, actor=actor, pins=pins)
        turning = turn()
        turning.add()
        batches = list(vault.unresealed(shop, turning.rotation))
        assert [len(items) for items in batches] == [100, 100, 5]
        assert sorted(item.name for items in batches for item in items) == list(wanted)
        assert turning.flip() == 205
        assert opened(keys, bundled(shop)) == wanted and versions(shop, 2, "staging") == set()

    def test_older_versions_open_too(self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled) -> None:
        """A pointer that moves back after a rotation finds its version sealed under the key of now."""
        turning = turn()
        turning.add()
        turning.flip()
        for number in (1, 2, 3):
            with stocked.writing() as session:
                one = session.exec(
                    select(Secret).where(Secret.name == "ONE", Secret.environment_id == environment(session).id)
                ).one()
                one.current_version = number
            assert opened(keys, bundled(stocked))["ONE"] == b"value one, number %d" % number

    def test_what_happens_meanwhile_is_carried_over(
        self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled, put: Callable[..., object], actor: Actor
    ) -> None:
        """A set, a first set, a deletion and a pruning between the batches and the flip, and while a batch is away."""
        turning = turn()
        turning.add()
        (items,) = vault.unresealed(stocked, turning.rotation)
        resealed = list(zip(items, turning.reseal(items), strict=True))
        vault.delete_secret(stocked, "shop", "default", "TWO", actor=actor)
        put("TWO", b"value of another two")
        with stocked.writing() as session:  # as pruning does
            rows = session.exec(select(SecretVersion).where(SecretVersion.version == 1)).all()
            mine = {secret.id for secret in session.exec(select(Secret).where(Secret.name == "ONE"))}
            here = environment(session).id
            for row in rows:
                if row.secret_id in mine and session.get_one(Secret, row.secret_id).environment_id == here:
                    session.delete(row)
        assert vault.add_resealed(stocked, turning.rotation, resealed) == 2
        put("ONE", b"value one, number 4")
        put("THREE", b"value of three")
        assert turning.flip() == 3
        assert opened(keys, bundled(stocked)) == {
            "ONE": b"value one, number 4",
            "TWO": b"value of another two",
            "THREE": b"value of three",
        }
        assert versions(stocked, 2) == {("ONE", 2), ("ONE", 3), ("ONE", 4), ("TWO", 1), ("THREE", 1)}
        put("ONE", b"value one, number 5")
        assert versions(stocked, 2) - versions(stocked, 1) == {("ONE", 5)}
        assert opened(keys, bundled(stocked))["ONE"] == b"value one, number 5"

    def test_cut_off_and_run_again(
        self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled, pins: Pins
    ) -> None:
        """What a rotation left that was killed is cleared away, said, and recorded; the second one counts."""
        first = turn()
        first.add()
        first.batch()
        assert [(view.generation, view.state) for view in vault.list_keys(stocked, "shop", "default")] == [
            (1, "current"),
            (2, "pending"),
        ]
        second = turn()
        assert second.add() == first.rotation.successor.fingerprint
        assert versions(stocked, 2) == set()
        assert [event.action for event in audit_reading.list_events(stocked, "shop")][-1] == "key.discard"
        second.flip()
        assert opened(keys, bundled(stocked))["TWO"] == b"value of two" and versions(stocked, 2) == ALL

    def test_of_two_at_once_one_wins(self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled) -> None:
        """The one that was overtaken says so at its next step, whichever that is, and changes nothing."""
        first, second = turn(), turn()
        first.add()
        second.add()
        for step in (first.batch, first.flip):
            with pytest.raises(RotationOvertaken, match="shop/default"):
                step()
        second.batch()
        second.flip()
        third = turn()
        for step in (first.add, first.batch, first.flip, second.flip):
            with pytest.raises(RotationOvertaken):
                step()
        third.add()
        with pytest.raises(RotationOvertaken):
            second.flip()
        assert bundled(stocked).generation == 2 and opened(keys, bundled(stocked))["TWO"] == b"value of two"

    def test_a_deleted_environment_ends_it(
        self, stocked: Database, turn: Turn, actor: Actor, birth: vault.Birth
    ) -> None:
        """Deleted, or deleted and made anew, while a rotation is under way: nothing is written into the new one."""
        turning = turn()
        turning.add()
        vault.delete_environment(stocked, "shop", "default", actor=actor)
        with pytest.raises(SecretStoreError, match="no environment"):
            turning.flip()
        vault.create_environment(stocked, "shop", "default", actor=actor, birth=birth)
        with pytest.raises(RotationOvertaken):
            turning.flip()
        vault.delete_project(stocked, "shop", actor=actor)
        with pytest.raises(UnknownProject):
            turning.add()

    def test_a_version_that_does_not_open_is_not_dropped_by_the_flip(self, stocked: Database, turn: Turn) -> None:
        """I9: what cannot be sealed anew keeps the old key pair current, and is named."""
        turning = turn()
        turning.add()
        with stocked.writing() as session:
            (two,) = session.exec(select(Secret).where(Secret.name == "TWO")).all()
            row = session.exec(select(SecretVersion).where(SecretVersion.secret_id == two.id)).one()
            row.sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
        with pytest.raises(SealBroken, match='"TWO" of shop/default'):
            turning.flip()
        assert vault.get_environment(stocked, "shop", "default").generation == 1
        assert versions(stocked, 2) == set(), "the transaction is undone as a whole"


class TestAttacks:
    """I2: what a database writer can prepare for a rotation."""

    def test_a_planted_pending_pair_is_never_sealed_to(
        self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled, birth: vault.Birth
    ) -> None:
        """A key pair of somebody's own in the next generation's place, and rows with it: discarded, said, recorded."""
        theirs = sealing.generate_private_key()
        with stocked.writing() as session:
            place = environment(session)
            session.add(
                KeyPair(
                    environment_id=place.id,
                    generation=2,
                    public_key=theirs.public_key().to_bytes(),
                    fingerprint=theirs.fingerprint,
                    key_service=keys.id,
                    wrapped_private_key=b"theirs",
                    created_by="mallory",
                )
            )
            (two,) = session.exec(select(Secret).where(Secret.name == "TWO")).all()
            sealed = sealing.seal(
                theirs.public_key(), 2, b"theirs", sealing.Binding(two.project_id, place.id, two.id, "TWO", 1)
            )
            session.add(
                SecretVersion(secret_id=two.id, version=1, generation=2, sealed=sealed, maskable=True, created_by="m")
            )
        turning = turn()
        assert turning.add() == theirs.fingerprint
        turning.flip()
        assert bundled(stocked).fingerprint not in (theirs.fingerprint, turning.rotation.pair.fingerprint)
        assert opened(keys, bundled(stocked)) == {"ONE": b"value one, number 3", "TWO": b"value of two"}
        with stocked.reading() as session:
            rows = session.exec(select(SecretVersion).where(col(SecretVersion.generation) == 2)).all()
            assert {sealing.header(row.sealed).fingerprint for row in rows} == {turning.rotation.successor.fingerprint}

    def test_a_pending_row_edited_meanwhile_counts_for_nothing(
        self, stocked: Database, keys: LocalKeys, turn: Turn, bundled: Bundled
    ) -> None:
        """The flip writes what the process said of the key pair it made; a voucher or public key put there is gone."""
        turning = turn()
        turning.add()
        theirs = sealing.generate_private_key().public_key()
        with stocked.writing() as session:
            pending = session.get_one(KeyPair, (environment(session).id, 2))
            pending.public_key, pending.fingerprint = theirs.to_bytes(), sealing.fingerprint(theirs)
            pending.voucher = b"forged"
        turning.flip()
        with stocked.reading() as session:
            pair = session.get_one(KeyPair, (environment(session).id, 2))
            assert pair.public_key == turning.rotation.successor.public_key
            assert (pair.fingerprint, pair.voucher) == (
                turning.rotation.successor.fingerprint,
                turning.rotation.voucher,
            )
        assert opened(keys, bundled(stocked))["TWO"] == b"value of two"

    def test_a_current_pair_of_somebodys_own_is_not_followed(
        self, stocked: Database, turn: Turn, tmp_path: Path
    ) -> None:
        """One known here is refused by its pin; without a pin it does not unwrap, for the context is another."""
        with stocked.writing() as session:
            ours = session.get_one(KeyPair, (environment(session).id, 1))
            theirs = session.get_one(KeyPair, (environment(session, "staging").id, 1))
            for column in ("public_key", "fingerprint", "wrapped_private_key"):
                setattr(ours, column, getattr(theirs, column))
        with pytest.raises(KeyChanged):
            turn()
        for pins in tmp_path.glob("known_keys"):
            pins.unlink()
        with pytest.raises(WrapBroken):
            turn()

    def test_a_swapped_row_is_not_sealed_anew(self, stocked: Database, turn: Turn) -> None:
        """A ciphertext moved from another environment or version does not open, so it is not given a new seal."""
        with stocked.writing() as session:
            rows = session.exec(select(SecretVersion).order_by(SecretVersion.secret_id, SecretVersion.version)).all()
            sealed = [row.sealed for row in rows]
            for row, other in zip(rows, [*sealed[1:], sealed[0]], strict=True):
                row.sealed = other
        turning = turn()
        turning.add()
        assert [turning.reseal(items) for items in vault.unresealed(stocked, turning.rotation)] == [[None] * 4]


class TestDestruction:
    @pytest.fixture
    def rotated(self, stocked: Database, turn: Turn) -> Database:
        """`stocked`, rotated once."""
        turning = turn()
        turning.add()
        turning.flip()
        return stocked

    def test_unused_generations_are_destroyed_and_used_ones_kept(
        self, rotated: Database, keys: LocalKeys, bundled: Bundled, actor: Actor, put: Callable[..., object]
    ) -> None:
        """The wrapped half and what is sealed to it go; the public half stays, and later pins still follow it."""
        put("ONE", b"value one, number 4")
        here = vault.get_environment(rotated, "shop", "default")
        assert vault.destroy_unused_keys(rotated, lambda _: {(here.id, 1)}, actor=actor) == []
        assert versions(rotated, 1) == ALL
        (gone,) = vault.destroy_unused_keys(rotated, lambda _: {(here.id, 2)}, actor=actor)
        assert (gone.environment, gone.generation, gone.state) == ("default", 1, "destroyed")
        assert gone.destroyed_at is not None
        assert versions(rotated, 1) == set() and versions(rotated, 1, "staging") == {("ONE", 1)}
        assert opened(keys, bundled(rotated))["ONE"] == b"value one, number 4"
        assert audit_reading.list_events(rotated, "shop")[-1].action == "key.destroy"
        assert vault.destroy_unused_keys(rotated, lambda _: (), actor=actor) == []
        put("ONE", b"value one, number 5")

    def test_states(self, rotated: Database, turn: Turn, actor: Actor) -> None:
        """As the listing has them, oldest first."""
        vault.destroy_unused_keys(rotated, lambda _: (), actor=actor)
        second = turn()
        second.add()
        second.flip()
        turn().add()
        views = vault.list_keys(rotated, "shop", "default")
        assert [(view.generation, view.state) for view in views] == [
            (1, "destroyed"),
            (2, "kept"),
            (3, "current"),
            (4, "pending"),
        ]
        assert [view.environment for view in vault.list_keys(rotated, "shop")] == ["default"] * 4 + ["staging"]

    def test_what_is_destroyed_is_not_in_the_file(
        self, rotated: Database, turn: Turn, actor: Actor, tmp_path: Path
    ) -> None:
        """Crypto-shredding on SQLite: neither its file nor its log holds the wrapped key any more."""
        if rotated.dialect != "sqlite":
            pytest.skip("PostgreSQL keeps what is deleted until it vacuums")

        def found(wrapped: bytes) -> bool:
            return any(wrapped[8:40] in file.read_bytes() for file in (tmp_path / "store").iterdir())

        def wrapped(name: str, generation: int) -> bytes:
            with rotated.reading() as session:
                pair = session.get_one(KeyPair, (environment(session, name).id, generation))
                return pair.wrapped_private_key or b""

        old, staging, new = wrapped("default", 1), wrapped("staging", 1), wrapped("default", 2)
        assert found(old) and found(staging) and found(new)
        vault.destroy_unused_keys(rotated, lambda _: (), actor=actor)
        assert not found(old) and found(new)
        vault.delete_environment(rotated, "shop", "staging", actor=actor)
        assert not found(staging) and found(new)
        vault.destroy_project(rotated, "shop", actor=actor)
        assert not found(new)


class TestDeletion:
    def test_what_refuses_keeps_everything(self, stocked: Database, actor: Actor) -> None:
        """Asked under the locks, with the ids; what it raises undoes nothing less than the whole."""
        asked: list[tuple[str, str | None]] = []

        def refuse(_: Session, project_id: str, environment_id: str | None) -> None:
            asked.append((project_id, environment_id))
            raise RuntimeError("live")

        here = vault.get_environment(stocked, "shop", "default")
        with pytest.raises(RuntimeError):
            vault.destroy_project(stocked, "shop", actor=actor, refuse_if=refuse)
        with pytest.raises(RuntimeError):
            vault.delete_environment(stocked, "shop", "default", actor=actor, refuse_if=refuse)
        assert asked == [(here.project_id, None), (here.project_id, here.id)]
        assert versions(stocked, 1) == ALL

    def test_a_deleted_environment_gives_nothing_not_even_variables(self, stocked: Database, actor: Actor) -> None:
        """A run accepted a moment before, even one without secrets, ends with a sentence."""
        here = vault.get_environment(stocked, "shop", "default")
        vault.set_variable(stocked, "shop", "default", "LEVEL", "debug", actor=actor)
        with stocked.writing() as session:
            assert vault.plain_variables(session, here.id) == {"LEVEL": "debug"}
        vault.delete_environment(stocked, "shop", "default", actor=actor)
        for read in (vault.plain_variables, lambda session, id_: vault.sealed_bundle(session, id_, None)):
            with pytest.raises(EnvironmentGone), stocked.writing() as session:
                read(session, here.id)


class TestRewrap:
    @pytest.fixture
    def both(self, key_file: Path, tmp_path: Path) -> Iterator[KeyAccess]:
        """A new key file, and the old one behind it."""
        create_local_key(tmp_path / "new" / "local.key")
        return KeyAccess(f"local:{tmp_path}/new/local.key,local:{key_file}")

    def test_the_first_of_several_wraps_and_each_opens_its_own(
        self, stocked: Database, keys: LocalKeys, both: KeyAccess, bundled: Bundled, actor: Actor, tmp_path: Path
    ) -> None:
        """After the move the new key file alone opens all; public halves and sealed values are untouched."""
        before = bundled(stocked)
        assert opened(unwrapping(both, before.key_service), before)["TWO"] == b"value of two"
        new = LocalKeys(tmp_path / "new" / "local.key")
        for key in vault.keys_to_rewrap(stocked, "shop"):
            pair = rewrap_pair(both, key.place, key.pair)
            assert pair is not None and rewrap_pair(both, key.place, pair) is None
            assert vault.replace_wrapping(stocked, key, pair.key_service, pair.wrapped, actor=actor)
        after = bundled(stocked)
        assert after == replace(before, key_service=new.id, wrapped=after.wrapped) and after.wrapped != before.wrapped
        assert opened(new, after)["TWO"] == b"value of two" == opened(unwrapping(both, new.id), after)["TWO"]
        with pytest.raises(KeyFileUnusable, match="was wrapped under key"):
            opened(keys, after)
        events = [event for event in audit_reading.list_events(stocked, "shop") if event.action == "key.rewrap"]
        details = [(event.subject, json.loads(event.detail)) for event in events]
        assert [(subject, detail["from"], detail["to"]) for subject, detail in details] == [
            ("default", keys.id, new.id),
            ("staging", keys.id, new.id),
        ]

    def test_a_row_that_changed_meanwhile_is_left_alone(self, stocked: Database, both: KeyAccess, actor: Actor) -> None:
        """Compared and set: of two who move the same key one does it, and nobody undoes a destruction."""
        (key,) = vault.keys_to_rewrap(stocked, "shop", "default")
        one, two = (rewrap_pair(both, key.place, key.pair) for _ in range(2))
        assert one is not None and two is not None
        assert vault.replace_wrapping(stocked, key, one.key_service, one.wrapped, actor=actor)
        count = len(audit_reading.list_events(stocked, "shop"))
        assert not vault.replace_wrapping(stocked, key, two.key_service, two.wrapped, actor=actor)
        assert len(audit_reading.list_events(stocked, "shop")) == count
        (found,) = vault.keys_to_rewrap(stocked, "shop", "default")
        assert found.pair.wrapped == one.wrapped

    def test_a_key_of_another_place_or_another_pair_is_refused(
        self, stocked: Database, keys: LocalKeys, both: KeyAccess
    ) -> None:
        """I2: swapped rows do not unwrap, and a private key that is not the row's is not wrapped for it."""
        default, staging = vault.keys_to_rewrap(stocked)
        with pytest.raises(WrapBroken):
            rewrap_pair(both, default.place, staging.pair)
        other = sealing.generate_private_key()
        context = wrapping_context(default.place, default.pair.fingerprint)
        forged: PlacedKey = replace(default, pair=replace(default.pair, wrapped=keys.wrap(other.to_bytes(), context)))
        with pytest.raises(WrapBroken):
            rewrap_pair(both, forged.place, forged.pair)

    def test_which_keys_are_meant(self, stocked: Database, turn: Turn, actor: Actor) -> None:
        """Current and kept ones, of an environment, a project or all; neither destroyed nor pending ones."""
        turning = turn()
        turning.add()
        turning.flip()
        turn().add()

        def listed(*names: str) -> list[tuple[str, int]]:
            return [(key.place.environment, key.pair.generation) for key in vault.keys_to_rewrap(stocked, *names)]

        assert listed("shop", "default") == [("default", 1), ("default", 2)]
        assert listed() == listed("shop") == [("default", 1), ("default", 2), ("staging", 1)]
        vault.destroy_unused_keys(stocked, lambda _: (), actor=actor)
        assert listed("shop", "default") == [("default", 2)]
