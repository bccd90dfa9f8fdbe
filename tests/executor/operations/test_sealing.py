"""The two steps as operations: JSON goes in and comes out, and no value in plain is ever among it."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import event

from executor import sealer
from executor.errors import NeedsYes
from executor.operations import importing, keys, secrets
from executor.schemas.places import InEnvironment, InProject
from executor.schemas.sealing import Reserving, SealedImport, SealedValues, StoredSealed
from secretstore import entries, sealing, vault
from secretstore.errors import KeyUnknown, NameRefused, SealedRefused, SealingOvertaken, SecretStoreError, ValueRefused
from secretstore.local_keys import LocalKeys
from secretstore.models import KeyPair
from secretstore.pins import Pins, refuse_first_use
from secretstore.reservation import Reservation, SealedSecret
from secretstore.reveal import reveal
from secretstore.succession import Succession
from tests.executor.operations.conftest import WHO, Shop

VALUE = b"hunter2-canary-of-the-wire"
BOTH = ("default", "staging")


class Wire:
    """A client's way to the operations: all that passes is JSON, and kept with all that the database is told."""

    def __init__(self, shop: Shop, known: Path) -> None:
        self.shop, self.passed, self.tried = shop, [], 0
        self.pins = Pins(known, "https://sealrun.example", first_use=refuse_first_use)
        self.between: Callable[[], object] = lambda: None
        event.listen(shop.at.db.engine, "before_cursor_execute", self._note)

    def _note(self, _: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        self.passed.append(f"{statement} {parameters!r}")

    def _over(self, kind: Any, what: Any) -> Any:
        wire = TypeAdapter(kind)
        self.passed.append(wire.dump_json(what).decode())
        return wire.validate_json(self.passed[-1])

    def trust(self, *environments: str) -> None:
        """As `key trust` does: fingerprints that a person has compared."""
        for environment in environments or BOTH:
            told = keys.succession(self.shop.at, WHO, InEnvironment(project="shop", environment=environment))
            self.pins.trust("shop", environment, self._over(Succession, told), told.fingerprint)

    def reserve(self, asked: Reserving) -> Reservation:
        self.tried += 1
        found = self._over(Reservation, secrets.reserve(self.shop.at, WHO, self._over(Reserving, asked)))
        self.between()
        return found

    def store(self, reservation: Reservation, sealed: tuple[SealedSecret, ...], **more: Any) -> StoredSealed:
        asked = SealedValues(
            project="shop", environments=_of(sealed), reservation=reservation.id, secrets=sealed, **more
        )
        stored = secrets.store_sealed(self.shop.at, WHO, self._over(SealedValues, asked))
        return self._over(StoredSealed, stored)

    def put(self, *values: entries.NewSecret, store: Any = None) -> StoredSealed:
        return sealer.put_sealed("shop", values, self.pins, reserve=self.reserve, store=store or self.store)

    def opened(self, environment: str = "default") -> dict[str, bytes]:
        place = vault.get_environment(self.shop.at.db, "shop", environment)
        with self.shop.at.db.writing() as session:
            bundle = vault.sealed_bundle(session, place.id, None)
        return {item.name: value for item, value in reveal(LocalKeys(self.shop.key_file), bundle)}


def _of(sealed: tuple[SealedSecret, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.environment for one in sealed))


@pytest.fixture
def wire(shop: Shop, tmp_path: Path) -> Wire:
    """A client that knows nothing yet, without anybody to ask."""
    return Wire(shop, tmp_path / "client" / "known_keys")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes in between does so as often as a test says, and not by chance."""
    monkeypatch.setattr("executor.sealer._PAUSE", 0.0)


def token(environment: str = "default", name: str = "TOKEN", value: bytes = VALUE) -> entries.NewSecret:
    return entries.NewSecret(environment, name, value)


def test_i1_no_value_passes_the_wire_or_the_database(wire: Wire) -> None:
    """I1: of all that operations are given, answer and tell the database, no part is a value, in no usual encoding."""
    wire.trust()
    stored = wire.put(*[token(place, name) for place in BOTH for name in ("TOKEN", "tls.key")])
    assert [(view.environment, view.name) for view in stored.secrets] == [
        (place, name) for place in BOTH for name in ("TOKEN", "tls.key")
    ]
    assert len(stored.name_notes) == 1 and "tls.key" in stored.name_notes[0]
    assert [wire.opened(place) for place in BOTH] == [{"TOKEN": VALUE, "tls.key": VALUE}] * 2
    all_of_it = "\n".join(wire.passed)
    assert "INSERT INTO secretstore_secret_version" in all_of_it and '"sealed":"' in all_of_it
    for form in (VALUE.decode(), VALUE.hex(), "aHVudGVyMi1jYW5hcnk", "h1bnRlcjItY2FuYXJ5", "odW50ZXIyLWNhbmFye"):
        assert form not in all_of_it


def test_the_test_of_the_wire_sees_a_value(wire: Wire) -> None:
    """What it watches is what the operations get: a value that is sent in plain is found there."""
    wire.trust()

    def leaky(reservation: Reservation, sealed: tuple[SealedSecret, ...]) -> StoredSealed:
        return wire.store(reservation, tuple(replace(one, sealed=VALUE) for one in sealed))

    with pytest.raises(SealedRefused, match="not the size"):
        wire.put(token(), store=leaky)
    assert "aHVudGVyMi1jYW5hcnk" in "\n".join(wire.passed)


def test_nothing_is_sent_to_a_server_that_is_not_known(wire: Wire) -> None:
    """I2: the first step may be asked; the second is not taken, in any of the environments."""
    wire.trust("default")
    with pytest.raises(KeyUnknown, match="shop/staging on https"):
        wire.put(token(), token("staging"))
    assert secrets.list_(wire.shop.at, WHO, InProject(project="shop")) == ()
    assert not any('"secrets":[{"environment"' in one for one in wire.passed)


def test_who_came_in_between_is_not_written_over(wire: Wire) -> None:
    """Another client stores: reserved and sealed again, the value is the next one."""
    wire.trust()
    between = iter([lambda: wire.shop.seal("TOKEN", b"theirs came first"), lambda: None])
    wire.between = lambda: next(between)()
    (view,) = wire.put(token()).secrets
    assert (view.version, wire.tried, wire.opened()) == (2, 2, {"TOKEN": VALUE})


def test_who_is_always_overtaken_is_told(wire: Wire) -> None:
    """A few times, and not for ever; nothing of theirs is stored."""
    wire.trust()
    numbers = itertools.count()
    wire.between = lambda: wire.shop.seal("TOKEN", b"theirs came first, %d" % next(numbers))
    with pytest.raises(SealingOvertaken, match="version 5 of TOKEN was taken"):
        wire.put(token())
    assert wire.tried == sealer.TRIES == 5
    assert wire.opened() == {"TOKEN": b"theirs came first, 4"}


def test_more_than_a_request_holds_are_refused_in_a_sentence(wire: Wire) -> None:
    """Before anything is asked; a part of them is not stored."""
    with pytest.raises(ValueRefused, match="4001 secrets are more than the 4000"):
        wire.put(*[token(name=f"TOKEN_{number}") for number in range(4001)])
    assert wire.tried == 0


def test_an_environment_that_the_request_does_not_name_is_refused(wire: Wire) -> None:
    """What who asks may do is looked up by those that it names."""
    wire.trust()

    def narrow(reservation: Reservation, sealed: tuple[SealedSecret, ...]) -> StoredSealed:
        asked = SealedValues(project="shop", environments=("default",), reservation=reservation.id, secrets=sealed)
        return secrets.store_sealed(wire.shop.at, WHO, asked)

    with pytest.raises(SealedRefused, match=r"for staging is refused.*not among those of the request"):
        wire.put(token(), token("staging"), store=narrow)
    assert secrets.list_(wire.shop.at, WHO, InProject(project="shop")) == ()


def test_names_that_installers_act_on_are_confirmed_here_too(wire: Wire) -> None:
    """As with `secret set`."""
    wire.trust()
    index = token(name="PIP_INDEX_URL", value=b"https://index.example/simple")
    with pytest.raises(NeedsYes):
        wire.put(index)
    wire.put(index, store=lambda reservation, sealed: wire.store(reservation, sealed, confirmed=True))
    assert "PIP_INDEX_URL" in wire.opened()


def test_a_file_is_stored_as_one(wire: Wire) -> None:
    """Secrets that were sealed elsewhere and variables in the open: all of it or nothing, with secrets or without."""
    wire.trust()

    def imported(*variables: entries.NewVariable) -> Callable[..., StoredSealed]:
        def store(reservation: Reservation, sealed: tuple[SealedSecret, ...]) -> StoredSealed:
            asked = SealedImport(
                project="shop",
                environments=("default",),
                reservation=reservation.id,
                secrets=sealed,
                variables=variables,
            )
            return importing.store_sealed(wire.shop.at, WHO, wire._over(SealedImport, asked))

        return store

    with pytest.raises(NameRefused):
        wire.put(token(), store=imported(entries.NewVariable("default", "LD_PRELOAD", "x")))
    assert wire.opened() == {} and vault.list_variables(wire.shop.at.db, "shop") == []
    stored = wire.put(token(), store=imported(entries.NewVariable("default", "PORT", "8081")))
    assert ([view.version for view in stored.secrets], stored.variables[0].value) == ([1], "8081")
    alone = SealedImport(
        project="shop", environments=("default",), variables=(entries.NewVariable("default", "PORT", "8082"),)
    )
    assert importing.store_sealed(wire.shop.at, WHO, alone).variables[0].value == "8082"


def test_what_is_claimed_of_a_value_is_shown_as_claimed(wire: Wire) -> None:
    """Nobody here can see whether it is so; who is given the value judges again (tests of the supervisor)."""
    wire.trust()

    def lying(reservation: Reservation, sealed: tuple[SealedSecret, ...]) -> StoredSealed:
        return wire.store(reservation, tuple(replace(one, maskable=True, allow_short=False) for one in sealed))

    wire.put(entries.NewSecret("default", "PIN", b"1234", allow_short=True), store=lying)
    (listed,) = secrets.list_(wire.shop.at, WHO, InProject(project="shop"))
    assert listed.maskable and wire.opened() == {"PIN": b"1234"}


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("sealed", "aHVudGVyMg"),
        ("sealed", "aHVu dGVyMg=="),
        ("expires_at", "2030-01-01T00:00:00"),
        ("value", "aHVudGVyMg=="),
        ("maskable", "aHVudGVyMg=="),
    ],
)
def test_what_comes_over_the_wire_is_strict(field: str, wrong: str) -> None:
    """Base64 with its padding, a moment with its zone, no unknown field; nothing of it is quoted (I10)."""
    good = {"environment": "prod", "name": "TOKEN", "sealed": "aHVudGVyMg==", "maskable": True}
    asked = {"project": "shop", "environments": ["prod"], "reservation": "0" * 32}
    read = SealedValues.model_validate(asked | {"secrets": [good]})
    assert read.secrets[0].sealed == b"hunter2" and "hunter2" not in repr(read)
    with pytest.raises(ValidationError) as caught:
        SealedValues.model_validate(asked | {"secrets": [good | {field: wrong}]})
    assert field in str(caught.value) and "aHVu" not in str(caught.value)


def test_expiry_and_form_travel_with_the_value(wire: Wire) -> None:
    """As `secret set --expires --as-file` has them."""
    wire.trust()
    soon = datetime.now(UTC) + timedelta(days=3)
    (view,) = wire.put(entries.NewSecret("default", "TLS", b"a\0binary value", expires_at=soon, as_file=True)).secrets
    assert (view.expires_at, view.as_file) == (soon, True)


def test_a_hostile_key_pair_in_the_database_reaches_no_client(wire: Wire) -> None:
    """I2: who writes to the database, or is the server, puts a key pair of their own there: the client refuses it."""
    wire.trust()
    theirs = sealing.generate_private_key().public_key()
    with wire.shop.at.db.writing() as session:
        pair = session.get_one(KeyPair, (vault.get_environment(wire.shop.at.db, "shop", "default").id, 1))
        pair.public_key, pair.fingerprint = theirs.to_bytes(), sealing.fingerprint(theirs)
    with pytest.raises(SecretStoreError, match="another fingerprint"):
        wire.put(token())
    assert not any('"secrets":[{"environment"' in one for one in wire.passed)
