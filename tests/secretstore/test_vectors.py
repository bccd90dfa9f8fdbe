"""What tests/vectors holds opens: `make.py` there says when it may be made anew."""

import json
import os
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from secretstore.local_keys import LocalKeys
from secretstore.pin import GivenPin
from secretstore.pins import Pins, refuse_first_use
from secretstore.reservation import Reservation, SealedSecret
from secretstore.sealing import (
    HEADER_SIZE,
    Binding,
    PrivateKey,
    PublicKey,
    fingerprint,
    header,
    info,
    open_,
    padded,
    succession,
    why_not_sealed_to,
)
from tests.vectors import by_hand

VECTORS = Path(__file__).parents[1] / "vectors"
SEALED = json.loads((VECTORS / "sealed-1.json").read_text())
RESERVED = json.loads((VECTORS / "reserved-1.json").read_text())


@pytest.mark.parametrize("vector", SEALED["values"], ids=lambda vector: vector["title"])
def test_a_sealed_vector_opens(vector: dict[str, Any]) -> None:
    """Each sealed value opens with its raw key, and its header says what it is."""
    key = SEALED["keys"][vector["key"]]
    sealed = b64decode(vector["sealed"])
    private = PrivateKey.from_bytes(b64decode(key["private"]))
    assert open_(private, sealed, Binding(**vector["binding"])) == b64decode(vector["value"])
    found = header(sealed)
    assert (found.format, found.suite) == (1, 1)
    assert (found.generation, found.fingerprint) == (vector["generation"], key["fingerprint"])


@pytest.mark.parametrize("key", SEALED["keys"], ids=lambda key: key["fingerprint"][:8])
def test_a_key_vector_keeps_its_forms(key: dict[str, str]) -> None:
    """Raw keys are read and written byte for byte, and have the fingerprint they had."""
    private = PrivateKey.from_bytes(b64decode(key["private"]))
    assert private.to_bytes() == b64decode(key["private"])
    public = PublicKey.from_bytes(b64decode(key["public"]))
    assert public.to_bytes() == private.public_key().to_bytes() == b64decode(key["public"])
    assert fingerprint(public) == private.fingerprint == key["fingerprint"]


class TestReserved:
    """What a client in another language does, from the answer to the first step to the request of the second."""

    @pytest.fixture
    def private(self) -> PrivateKey:
        """The key of the reserved place."""
        return PrivateKey.from_bytes(b64decode(RESERVED["private"]))

    @pytest.fixture
    def bindings(self) -> dict[str, Binding]:
        """What each name is sealed for."""
        ids = RESERVED["pin"].split(":")[:2]
        (place,) = RESERVED["reservation"]["places"]
        return {one["name"]: Binding(*ids, one["secret_id"], one["name"], one["version"]) for one in place["secrets"]}

    def test_what_was_sealed_here_opens(self, private: PrivateKey, bindings: dict[str, Binding]) -> None:
        """With sealrun and by hand; the bytes of header, `info` and padding are those of the vector."""
        for one in RESERVED["sealed"]:
            name, sealed, value = one["name"], b64decode(one["sealed"]), b64decode(RESERVED["values"][one["name"]])
            assert open_(private, sealed, bindings[name]) == value
            assert info(sealed[:HEADER_SIZE], bindings[name]).hex() == RESERVED["info"][name]
            assert padded(value).hex() == RESERVED["padded"][name] == by_hand.padded(value).hex()
            assert by_hand.unseal(private.to_bytes(), sealed, bytes.fromhex(RESERVED["info"][name])) == value

    def test_what_was_sealed_by_hand_opens_here(self, private: PrivateKey, bindings: dict[str, Binding]) -> None:
        """From the pin over a voucher to the request: it reads as one of ours, and has the same `info`."""
        request = by_hand.request_for(RESERVED)
        ours = TypeAdapter(tuple[SealedSecret, ...]).validate_python(RESERVED["sealed"])
        theirs = TypeAdapter(tuple[SealedSecret, ...]).validate_json(json.dumps(request))
        assert [replace(one, sealed=b"") for one in theirs] == [replace(one, sealed=b"") for one in ours]
        for one in theirs:
            assert why_not_sealed_to(one.sealed, 2, private.fingerprint) is None
            assert open_(private, one.sealed, bindings[one.name]) == b64decode(RESERVED["values"][one.name])

    def test_the_answer_is_taken_from_its_pin(self, tmp_path: Path, private: PrivateKey) -> None:
        """By sealrun as a client, too; the statement that the first key pair signed is the vector's."""
        reservation = TypeAdapter(Reservation).validate_json(json.dumps(RESERVED["reservation"]))
        key = reservation.places[0].key
        pin = GivenPin.parse(RESERVED["pin"], "--pin gives")
        pins = Pins(tmp_path / "known_keys", "https://sealrun.example", given=[pin], first_use=refuse_first_use)
        assert pins.sealing_key("shop", "prod", key).to_bytes() == private.public_key().to_bytes()
        first, second = (pair.public_key for pair in key.pairs)
        ids = key.project_id, key.environment_id
        assert by_hand.statement_of(*ids, 2, first, second).hex() == RESERVED["statement"]
        about = 1, fingerprint(PublicKey.from_bytes(first)), 2, private.fingerprint
        assert succession(*ids, *about).hex() == RESERVED["statement"]


def test_a_wrapped_vector_unwraps(tmp_path: Path) -> None:
    """A private key wrapped under a public file unwraps with its key file."""
    vector = json.loads((VECTORS / "local-wrap-1.json").read_text())
    file = tmp_path / "local.key"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    file.write_text(vector["file"])
    keys = LocalKeys(file)
    file.with_suffix(".pub").write_text(vector["public_file"])
    assert keys.id == keys.opening_id == vector["id"]
    assert keys.unwrap(b64decode(vector["wrapped"]), vector["context"]) == b64decode(vector["private"])
