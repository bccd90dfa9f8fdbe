"""Sealing without a database: nothing is believed that whoever answers says, but what follows from known key pairs."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from secretstore import sealing
from secretstore.entries import NewSecret
from secretstore.errors import (
    KeyChanged,
    KeyUnknown,
    NameRefused,
    ReservationUnfit,
    SecretStoreError,
    ValueRefused,
)
from secretstore.pin import GivenPin, Pin
from secretstore.pins import Pins, refuse_first_use
from secretstore.reservation import Reservation, ReservedPlace, ReservedSecret, SealedSecret, seal_reserved
from secretstore.sealing import Binding
from secretstore.succession import KeyLink, Succession, claimed_fingerprint

ROOT = Path(__file__).parents[2]
VALUE = b"hunter2-sealed-anywhere"
SERVER = "https://sealrun.example"


class Server:
    """Answers as an API would, and may lie."""

    def __init__(self) -> None:
        self.project_id, self.environment_id = "a" * 32, "b" * 32
        self.keys = [sealing.generate_private_key()]
        self.secret_id, self.version = "c" * 32, 1

    def rotate(self) -> None:
        """A next key pair, which the one before it vouches for."""
        self.keys.append(sealing.generate_private_key())

    def key(self) -> Succession:
        pairs = []
        for number, key in enumerate(self.keys, 1):
            voucher = None
            if number > 1:
                before = self.keys[number - 2]
                about = self.project_id, self.environment_id, number - 1, before.fingerprint, number, key.fingerprint
                voucher = before.vouch(sealing.succession(*about))
            pairs.append(KeyLink(number, key.public_key().to_bytes(), voucher))
        mark = claimed_fingerprint(pairs[-1].public_key)
        return Succession(self.project_id, self.environment_id, len(pairs), mark, tuple(pairs))

    def pin(self, generation: int = 1) -> Pin:
        return Pin(self.project_id, self.environment_id, generation, self.keys[generation - 1].fingerprint)

    def answer(self, key: Succession | None = None, environment: str = "prod", name: str = "TOKEN") -> Reservation:
        secret = ReservedSecret(name, self.secret_id, self.version)
        place = ReservedPlace(environment, key or self.key(), (secret,))
        told = Reservation("d" * 32, datetime.now(UTC), (place,))
        wire = TypeAdapter(Reservation)
        return wire.validate_json(wire.dump_json(told))


@pytest.fixture
def server() -> Server:
    """A server with one key pair."""
    return Server()


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    """Those of somebody whom nobody can ask, and who knows nothing yet."""
    return Pins(tmp_path / "known_keys", SERVER, first_use=refuse_first_use)


def sealed_by(pins: Pins, answer: Reservation, *entries: NewSecret) -> tuple[SealedSecret, ...]:
    return seal_reserved(answer, "shop", entries or (NewSecret("prod", "TOKEN", VALUE),), pins)


def refused(pins: Pins, answer: Reservation, kind: type[SecretStoreError], words: str, *entries: NewSecret) -> str:
    """Nothing is sealed, and nothing learned."""
    before = pins.file.read_bytes() if pins.file.exists() else None
    with pytest.raises(kind, match=words) as caught:
        sealed_by(pins, answer, *entries)
    assert (pins.file.read_bytes() if pins.file.exists() else None) == before
    assert VALUE.decode() not in f"{caught.value} {caught.value.hint}"
    return f"{caught.value}"


def test_it_needs_no_database() -> None:
    """I1: neither SQLAlchemy nor a driver is there, nor what opens values; so a client has none of them."""
    code = (
        "import sys\n"
        "for name in ('sqlalchemy', 'sqlmodel', 'psycopg', 'alembic', 'celery'): sys.modules[name] = None\n"
        "import executor.sealer\n"
        "assert not {'secretstore.reveal', 'secretstore.vault', 'secretstore.keyring'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_value_is_sealed_for_known_ids_and_the_name_that_was_typed(server: Server, pins: Pins) -> None:
    """I2: it opens for these and for the reserved version, whatever the server is called inside."""
    pins.remember("shop", "prod", server.pin())
    (sealed,) = sealed_by(pins, server.answer())
    binding = Binding(server.project_id, server.environment_id, server.secret_id, "TOKEN", 1)
    assert sealing.open_(server.keys[0], sealed.sealed, binding) == VALUE
    assert (sealed.environment, sealed.name, sealed.maskable) == ("prod", "TOKEN", True)
    assert VALUE.decode() not in repr(sealed)


class TestFirstUse:
    """I2: a server that nobody knows may have any key pair."""

    def test_without_anybody_to_ask_it_needs_a_pin(self, server: Server, pins: Pins) -> None:
        """And says which fingerprint there is to compare."""
        said = refused(pins, server.answer(), KeyUnknown, "is not known here, so nothing was sealed")
        assert server.keys[0].fingerprint in said and SERVER in said

    @pytest.mark.parametrize("how", ["the project file", "--pin", "--pin prod="])
    def test_a_pin_says_which_it_is(self, server: Server, pins: Pins, how: str) -> None:
        """Given now or written down; from then on it is remembered, and rotations are followed from there."""
        text = str(server.pin())
        if how == "the project file":
            pinned = Pins(pins.file, SERVER, {("shop", "prod"): Pin.parse(text)}, first_use=refuse_first_use)
        else:
            pinned = pins.also([GivenPin.parse(how.removeprefix("--pin").strip() + text, "--pin gives")])
        server.rotate()
        sealed_by(pinned, server.answer())
        assert pins.known("shop", "prod") == server.pin(2)
        sealed_by(pins, server.answer())

    @pytest.mark.parametrize("field", ["project_id", "environment_id", "fingerprint"])
    def test_a_pin_of_something_else_is_none(self, server: Server, pins: Pins, field: str) -> None:
        """All that it says must hold."""
        pin = replace(server.pin(), **{field: "0" * (64 if field == "fingerprint" else 32)})
        refused(pins.also([GivenPin(None, pin, "--pin gives")]), server.answer(), KeyChanged, "another .*--pin gives")
        elsewhere = pins.also([GivenPin("dev", server.pin(), "--pin gives")])
        refused(elsewhere, server.answer(), KeyUnknown, "not known")

    def test_another_server_is_another_first_use(self, server: Server, pins: Pins) -> None:
        """The same names and ids under another origin: what is known of one says nothing of the other."""
        pins.remember("shop", "prod", server.pin())
        other = Pins(pins.file, "https://elsewhere.example", first_use=refuse_first_use)
        refused(other, server.answer(), KeyUnknown, "https://elsewhere.example")


class TestKnown:
    """I2: what a server may answer to somebody who knows its key pair, and what it may not."""

    @pytest.fixture
    def pins(self, server: Server, pins: Pins) -> Pins:
        """Those of somebody who knows the first key pair."""
        pins.remember("shop", "prod", server.pin())
        return pins

    @pytest.mark.parametrize("field", ["project_id", "environment_id"])
    def test_an_id_that_changed_under_a_known_name(self, server: Server, pins: Pins, field: str) -> None:
        """With the right key pair or another one: a value of prod is not sealed for what is called prod meanwhile."""
        setattr(server, field, "e" * 32)
        said = refused(pins, server.answer(), KeyChanged, f"the {field.removesuffix('_id')} has another id, eeee")
        assert "is remembered here" in said

    def test_vouchers_are_followed_from_the_document_alone(self, server: Server, pins: Pins) -> None:
        """Two rotations on; each key pair has signed for the next, and the last is remembered."""
        server.rotate()
        server.rotate()
        (sealed,) = sealed_by(pins, server.answer())
        assert sealing.header(sealed.sealed).generation == 3 and pins.known("shop", "prod") == server.pin(3)

    def test_a_document_that_lies(self, server: Server, pins: Pins) -> None:
        """Another key pair; one that nobody signed for; a gap; a step back; bytes that are no key; none at all."""
        mine, first = sealing.generate_private_key(), server.key()
        theirs = mine.public_key().to_bytes()
        server.rotate()
        second = server.key()

        def without(key: Succession, number: int) -> Succession:
            return replace(key, pairs=tuple(pair for pair in key.pairs if pair.generation != number))

        for words, lie in {
            "another fingerprint": replace(first, pairs=(KeyLink(1, theirs, None),)),
            "its key was swapped": replace(second, pairs=(KeyLink(1, theirs, None), second.pairs[1])),
            "not vouched for": replace(second, pairs=(second.pairs[0], KeyLink(2, theirs, second.pairs[1].voucher))),
            "generation 1 is missing, so nothing explains": without(second, 1),
            "its generation 2 is missing": without(second, 2),
            "no readable public key": replace(first, pairs=(KeyLink(1, b"nonsense", None),)),
            "has not the form": replace(first, generation=0),
        }.items():
            refused(pins, server.answer(lie), KeyChanged, words)
        sealed_by(pins, server.answer(second))
        refused(pins, server.answer(first), KeyChanged, "generation 1, .* is a step back")

    def test_what_was_not_asked_for(self, server: Server, pins: Pins) -> None:
        """Other environments and names, more of them, ids and versions that are none."""
        good = server.answer()
        place = good.places[0]
        for words, lie in (
            ("other environments", server.answer(environment="dev")),
            ("other environments", replace(good, places=(place, place))),
            ("other environments", replace(good, places=())),
            ("other names", server.answer(name="OTHER")),
            ("other names", replace(good, places=(replace(place, secrets=place.secrets * 2),))),
        ):
            refused(pins, lie, ReservationUnfit, words)
        for secret_id, version in (("C" * 32, 1), ("", 1), ("c" * 32, 0), ("c" * 32, -1), ("c" * 32, 1 << 40)):
            server.secret_id, server.version = secret_id, version
            refused(pins, server.answer(), ReservationUnfit, "has not the form")

    def test_what_cannot_be_a_secret_is_refused_here(self, server: Server, pins: Pins) -> None:
        """Before it is sealed; the value is not quoted (I10)."""
        refused(pins, server.answer(), ValueRefused, "too few to mask", NewSecret("prod", "TOKEN", b"1234"))
        refused(pins, server.answer(), NameRefused, ".", NewSecret("prod", "LD_PRELOAD", VALUE))
        twice = NewSecret("prod", "TOKEN", VALUE), NewSecret("prod", "TOKEN", VALUE)
        refused(pins, server.answer(), NameRefused, "twice", *twice)


@pytest.mark.parametrize("name", ["a b", "a\nb prod 1", "", "../x"])
def test_a_name_that_a_checkout_made_up_reaches_no_file(server: Server, pins: Pins, name: str) -> None:
    """A project file may say anything, and a server agree: no line of known keys can be written by it."""
    trusting = Pins(pins.file, SERVER)
    with pytest.raises(NameRefused):
        seal_reserved(server.answer(), name, [NewSecret("prod", "TOKEN", VALUE)], trusting)
    with pytest.raises(NameRefused):
        seal_reserved(server.answer(environment=name), "shop", [NewSecret(name, "TOKEN", VALUE)], trusting)
    assert not pins.file.exists()
