"""Storing in two steps: what is sealed elsewhere, for what was reserved, is stored as it is or not at all."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from secretstore import audit_reading, sealing, vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database, utc_now
from secretstore.entries import NewSecret, NewVariable
from secretstore.errors import (
    NameRefused,
    ProjectDeleted,
    SealBroken,
    SealedRefused,
    SealingOvertaken,
    SecretStoreError,
    UnknownEnvironment,
    ValueRefused,
)
from secretstore.local_keys import LocalKeys
from secretstore.models import SecretReservation, SecretVersion
from secretstore.pins import Pins
from secretstore.reservation import Reservation, SealedSecret, seal_reserved
from secretstore.reveal import reveal
from secretstore.vault import Actor
from tests.secretstore.conftest import Rotate

Bundled = Callable[..., SealedBundle]
VALUE = b"hunter2-sealed-ahead"
BOTH = ("default", "staging")


class Sealer:
    """Somebody with values, pins and no database, and the two steps of the other side."""

    def __init__(self, db: Database, actor: Actor, file: Path) -> None:
        self.db, self.actor, self.pins = db, actor, Pins(file, "https://sealrun.example")

    def reserve(self, *names: str, environments: tuple[str, ...] = ("default",)) -> Reservation:
        return vault.reserve(self.db, "shop", environments, names or ("TOKEN",), actor=self.actor)

    def seal(self, reservation: Reservation, value: bytes = VALUE, **more: Any) -> list[SealedSecret]:
        places = [(place.environment, one.name) for place in reservation.places for one in place.secrets]
        entries = [NewSecret(environment, name, value, **more) for environment, name in places]
        return list(seal_reserved(reservation, "shop", entries, self.pins))

    def store(self, reservation: Reservation | str, entries: Any) -> list[Any]:
        key = reservation if isinstance(reservation, str) else reservation.id
        return vault.store_sealed(self.db, "shop", key, entries, actor=self.actor)

    def refused(self, kind: type[SecretStoreError], words: str, reservation: Reservation | str, entries: Any) -> None:
        """Nothing is stored, nor recorded."""
        before = self.state()
        with pytest.raises(kind, match=words):
            self.store(reservation, entries)
        assert self.state() == before

    def state(self) -> Any:
        with self.db.reading() as session:
            versions = session.exec(select(SecretVersion.secret_id, SecretVersion.version)).all()
        return sorted(versions), vault.list_variables(self.db, "shop"), audit_reading.verify(self.db, "shop")


@pytest.fixture
def sealer(shop: Database, actor: Actor, tmp_path: Path) -> Sealer:
    """Who seals ahead in these tests."""
    return Sealer(shop, actor, tmp_path / "elsewhere" / "known_keys")


def test_what_is_sealed_elsewhere_opens_here(shop: Database, sealer: Sealer, keys: LocalKeys, bundled: Bundled) -> None:
    """I2: each value for its own environment; the next one is the next version, and the record names both."""
    for number in (1, 2):
        reservation = sealer.reserve("TOKEN", "tls.key", environments=BOTH)
        assert [[one.version for one in place.secrets] for place in reservation.places] == [[number, number]] * 2
        views = sealer.store(reservation, sealer.seal(reservation, b"value number %d" % number))
        assert [(view.environment, view.name, view.version) for view in views] == [
            (environment, name, number) for environment in BOTH for name in ("TOKEN", "tls.key")
        ]
    for environment in BOTH:
        opened = {item.name: value for item, value in reveal(keys, bundled(shop, environment))}
        assert opened == {"TOKEN": b"value number 2", "tls.key": b"value number 2"}
    events = [one for one in audit_reading.list_events(shop, "shop") if one.action == "secret.set"]
    assert len(events) == 8 and {one.actor for one in events} == {sealer.actor.name}
    with shop.reading() as session:
        assert session.exec(select(SecretReservation)).all() == []


def test_what_was_reserved_is_stored_with_variables_or_not_at_all(shop: Database, sealer: Sealer) -> None:
    """Variables of the same file: with one that is refused nothing is stored, and the reservation is still good."""
    reservation = sealer.reserve("TOKEN", environments=BOTH)
    sealed = sealer.seal(reservation)
    for bad, kind in (
        (NewVariable("default", "TOKEN", "x"), NameRefused),
        (NewVariable("default", "A", "\0"), ValueRefused),
    ):
        sealer.refused(kind, ".", reservation, [*sealed, NewVariable("staging", "REGION", "eu"), bad])
    sealer.store(reservation, [*sealed, NewVariable("staging", "REGION", "eu")])
    assert [view.value for view in vault.list_variables(shop, "shop")] == ["eu"]
    assert len(vault.list_secrets(shop, "shop")) == 2


class TestOvertaken:
    """What came in between: the answer is to reserve and seal again, and that works."""

    def again(self, sealer: Sealer) -> None:
        reservation = sealer.reserve()
        sealer.store(reservation, sealer.seal(reservation))

    def test_two_for_one_version(self, shop: Database, sealer: Sealer, keys: LocalKeys, bundled: Bundled) -> None:
        """Of a secret that is new and of one that is there: the first is stored, and nothing of it is replaced."""
        for number in (1, 2):
            mine, theirs = sealer.reserve(), sealer.reserve()
            sealer.store(theirs, sealer.seal(theirs, b"theirs came first"))
            sealer.refused(SealingOvertaken, f"version {2 * number - 1} of TOKEN was taken", mine, sealer.seal(mine))
            ((item, value),) = reveal(keys, bundled(shop))
            assert (item.version, value) == (2 * number - 1, b"theirs came first")
            self.again(sealer)

    @pytest.mark.parametrize("same", [True, False], ids=["one reservation twice", "two reservations"])
    def test_two_at_the_same_moment(self, shop: Database, sealer: Sealer, same: bool) -> None:
        """I2: one of them is stored; a number is never given to two values."""
        mine = sealer.reserve()
        pairs = [(one, sealer.seal(one)) for one in (mine, mine if same else sealer.reserve())]
        together, ended = threading.Barrier(2), []

        def store(reservation: Reservation, sealed: list[SealedSecret]) -> None:
            together.wait(30)
            try:
                sealer.store(reservation, sealed)
                ended.append("stored")
            except SealingOvertaken as error:
                ended.append(error.code)

        threads = [threading.Thread(target=store, args=pair) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(ended) == ["sealing_overtaken", "stored"]
        assert [view.version for view in vault.history(shop, "shop", "default", "TOKEN")] == [1]

    def test_a_rotation(self, shop: Database, sealer: Sealer, rotate: Rotate) -> None:
        """I2: what is sealed to the key pair that was replaced; sealed again it follows the vouchers."""
        self.again(sealer)
        reservation = sealer.reserve()
        sealed = sealer.seal(reservation)
        rotate(shop)
        sealer.refused(SealingOvertaken, "default has another key pair now", reservation, sealed)
        self.again(sealer)

    def test_a_reservation_that_was_used(self, shop: Database, sealer: Sealer) -> None:
        """Replayed, with the same bytes: an older value does not come back."""
        reservation = sealer.reserve()
        sealed = sealer.seal(reservation)
        sealer.store(reservation, sealed)
        sealer.refused(SealingOvertaken, "was used", reservation, sealed)
        self.again(sealer)

    def test_a_reservation_that_expired(self, shop: Database, sealer: Sealer) -> None:
        """By the database's clock; what is left of it is deleted, and of others nothing."""
        reservation, other = sealer.reserve(), sealer.reserve("OTHER")
        with shop.writing() as session:
            session.get_one(SecretReservation, reservation.id).expires_at = utc_now()
        sealer.refused(SealingOvertaken, "expired", reservation, sealer.seal(reservation))
        assert vault.prune_reservations(shop) == 1
        sealer.store(other, sealer.seal(other))

    def test_a_reservation_of_others(self, shop: Database, sealer: Sealer, tmp_path: Path, birth: vault.Birth) -> None:
        """Of another person, of another project, of nobody: none of them says more than the others."""
        reservation = sealer.reserve()
        sealed = sealer.seal(reservation)
        bob = Sealer(shop, Actor("bob@example", "test"), tmp_path / "bob")
        bob.refused(SealingOvertaken, "another person", reservation, sealed)
        sealer.refused(SealingOvertaken, "another person", "0" * 32, sealed)
        other = vault.create_project(shop, "other", actor=sealer.actor, birth=birth)
        with shop.writing() as session:
            session.get_one(SecretReservation, reservation.id).project_id = other.id
        sealer.refused(SealingOvertaken, "another project", reservation, sealed)

    def test_a_secret_that_was_deleted(self, shop: Database, sealer: Sealer) -> None:
        """I2: one that is made anew under the name has another id, and the old id does not come back."""
        self.again(sealer)
        reservation = sealer.reserve()
        vault.delete_secret(shop, "shop", "default", "TOKEN", actor=sealer.actor)
        sealed = sealer.seal(reservation)
        sealer.refused(SealingOvertaken, "or TOKEN deleted", reservation, sealed)
        self.again(sealer)  # another one of this name, whose next version has the reserved number
        sealer.refused(SealingOvertaken, "or TOKEN deleted", reservation, sealed)
        assert [view.version for view in vault.history(shop, "shop", "default", "TOKEN")] == [1]

    def test_places_that_were_deleted(self, shop: Database, sealer: Sealer, birth: vault.Birth, actor: Actor) -> None:
        """I2: they are told as such; one that was made anew under the name is another."""
        reservation = sealer.reserve()
        sealed = sealer.seal(reservation)
        vault.delete_environment(shop, "shop", "default", actor=actor)
        sealer.refused(UnknownEnvironment, "default", reservation, sealed)
        vault.create_environment(shop, "shop", "default", actor=actor, birth=birth)
        sealer.refused(SealingOvertaken, "another key pair", reservation, sealed)
        vault.delete_project(shop, "shop", actor=actor)
        with pytest.raises(ProjectDeleted):
            sealer.store(reservation, sealed)
        vault.destroy_project(shop, "shop", actor=actor)
        vault.create_project(shop, "shop", actor=actor, birth=birth)
        sealer.refused(SealingOvertaken, "another project", reservation, sealed)


class TestRefused:
    """What cannot be what was to be sealed."""

    def test_a_part_of_it_or_more_or_for_another_environment(self, sealer: Sealer) -> None:
        """I2: a reservation of dev stores nothing in prod; a lot is stored whole."""
        mixed = sealer.reserve("TOKEN", "OTHER", environments=BOTH)
        whole = sealer.seal(mixed)
        sealer.refused(SealedRefused, "it was reserved and is missing", mixed, whole[:-1])
        narrow = sealer.reserve("TOKEN")
        sealed = sealer.seal(narrow)
        sealer.refused(SealedRefused, "it was not reserved", narrow, [*sealed, whole[-1]])
        sealer.refused(SealedRefused, "default|staging", narrow, [replace(sealed[0], environment="staging")])
        sealer.refused(SealedRefused, ".", narrow, [replace(sealed[0], name="OTHER")])
        sealer.refused(NameRefused, "twice", narrow, [*sealed, *sealed])
        sealer.store(mixed, whole)

    def test_bytes_that_belong_to_the_environment_beside_it(self, sealer: Sealer) -> None:
        """I2: of two that were sealed together each is addressed to its own key pair; with one wrong none is stored."""
        reservation = sealer.reserve(environments=BOTH)
        first, second = sealer.seal(reservation)
        sealer.refused(SealedRefused, "it is addressed to", reservation, [first, replace(second, sealed=first.sealed)])
        sealer.store(reservation, [first, second])

    def test_bytes_that_are_not_sealed_to_the_key_pair(self, sealer: Sealer) -> None:
        """I2: by size and header; no error quotes them."""
        reservation = sealer.reserve()
        (one,) = sealer.seal(reservation)
        sealed = one.sealed
        for words, wrong in (
            ("size", b""),
            ("size", VALUE),
            ("size", sealed[:-1]),
            ("size", sealed + b"\0"),
            ("size", sealed[:38] + bytes(1136 + 32)),
            ("size", sealed[:38] + bytes(1136 + (1 << 19))),
            ("its format is 2", b"\2" + sealed[1:]),
            ("its suite", sealed[:1] + b"\2" + sealed[2:]),
            ("addressed to generation 2", sealed[:2] + b"\0\0\0\2" + sealed[6:]),
            ("addressed to generation 1, 0000", sealed[:6] + bytes(32) + sealed[38:]),
        ):
            sealer.refused(SealedRefused, words, reservation, [replace(one, sealed=wrong)])
        sealer.store(reservation, [one])

    def test_what_is_said_of_a_value_obeys_the_rules(self, sealer: Sealer) -> None:
        """I9: one that is not masked is taken where that was said to be meant; names are refused whatever the value."""
        reservation = sealer.reserve()
        (sealed,) = sealer.seal(reservation)
        sealer.refused(ValueRefused, "too few to mask", reservation, [replace(sealed, maskable=False)])
        sealer.refused(ValueRefused, "in the past", reservation, [replace(sealed, expires_at=utc_now())])
        for name in ("LD_PRELOAD", "GIT_SSH_COMMAND", "a b", "SEALRUN_X"):
            sealer.refused(NameRefused, ".", reservation, [replace(sealed, name=name, as_file=True)])
            with pytest.raises(NameRefused):
                sealer.reserve(name)
        (view,) = sealer.store(reservation, [replace(sealed, maskable=False, allow_short=True)])
        assert not view.maskable

    def test_a_name_that_became_a_variables(self, shop: Database, sealer: Sealer) -> None:
        """Between the steps, and before the first."""
        reservation = sealer.reserve()
        vault.set_variable(shop, "shop", "default", "TOKEN", "x", actor=sealer.actor)
        sealer.refused(NameRefused, "a variable of default has it", reservation, sealer.seal(reservation))
        with pytest.raises(NameRefused, match="a variable of default has it"):
            sealer.reserve()


def test_what_was_sealed_for_another_place_opens_nowhere(
    shop: Database, sealer: Sealer, keys: LocalKeys, bundled: Bundled
) -> None:
    """I2: it cannot be seen without the private key; whoever seals wrongly gets a secret that no run is given."""
    wrong = {"project_id": "0" * 32, "environment_id": "0" * 32, "secret_id": "0" * 32, "name": "X", "version": 2}
    reservation = sealer.reserve(*wrong)
    place = reservation.places[0]
    sealed = []
    for one, secret in zip(sealer.seal(reservation), place.secrets, strict=True):
        ids = place.key.project_id, place.key.environment_id, secret.secret_id
        binding = replace(sealing.Binding(*ids, one.name, secret.version), **{one.name: wrong[one.name]})
        sealed.append(replace(one, sealed=sealing.seal(place.key.current(), 1, VALUE, binding)))
    sealer.store(reservation, sealed)
    for name in wrong:
        with pytest.raises(SealBroken, match=name):
            list(reveal(keys, bundled(shop, names=[name])))


def test_a_reservation_keeps_nobody_from_anything(
    shop: Database, sealer: Sealer, pins: Pins, rotate: Rotate, actor: Actor
) -> None:
    """Others store, rotate and delete as if there was none; it holds what is public, and no name but those asked."""
    sealer.reserve(environments=BOTH)
    vault.put(shop, "shop", "default", "TOKEN", VALUE, actor=actor, pins=pins)
    rotate(shop, "staging")
    vault.delete_secret(shop, "shop", "default", "TOKEN", actor=actor)
    with shop.reading() as session:
        (row,) = session.exec(select(SecretReservation)).all()
        said = json.loads(row.reserved)
    assert said.keys() == set(BOTH) and said["default"].keys() == {"id", "generation", "secrets"}


def test_a_thousand_cost_no_more_round_trips_than_a_few(shop: Database, sealer: Sealer) -> None:
    """Neither of the steps grows by a statement for each entry."""

    def statements(count: int, name: str) -> int:
        ran: list[str] = []

        def note(_: object, __: object, statement: str, *___: object) -> None:
            ran.append(statement)

        event.listen(shop.engine, "before_cursor_execute", note)
        reservation = sealer.reserve(*[f"{name}_{number}" for number in range(count)])
        sealer.store(reservation, sealer.seal(reservation))
        event.remove(shop.engine, "before_cursor_execute", note)
        return len(ran)

    assert statements(1000, "MANY") <= statements(3, "FEW") + 10
    assert len(vault.list_secrets(shop, "shop", "default")) == 1003
