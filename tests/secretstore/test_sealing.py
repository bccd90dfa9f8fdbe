"""Sealing: what goes in comes out, and only there."""

from dataclasses import fields, replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import given, settings
from hypothesis import strategies as st

from secretstore import sealing
from secretstore.errors import DoesNotOpen, KeyUnreadable, ValueRefused
from secretstore.sealing import (
    MAX_VALUE,
    Binding,
    PrivateKey,
    PublicKey,
    generate_private_key,
    open_,
    seal,
)
from tests.effort import share

PRIVATE = generate_private_key()
PUBLIC = PRIVATE.public_key()
RULES = sha256(b"hosts: db.example").hexdigest()
BINDING = Binding("a" * 32, "b" * 32, "c" * 32, "DATABASE_URL", 3, RULES)
HEADER_SIZE = 38
SEALED = seal(PUBLIC, 7, b"the value", BINDING)


@given(
    value=st.binary(max_size=3000),
    generation=st.integers(1, 2**32 - 1),
    name=st.text("abcXYZ019._-", min_size=1),
    version=st.integers(1, 2**63),
)
@settings(max_examples=share(60), deadline=None)
def test_what_is_sealed_opens(value: bytes, generation: int, name: str, version: int) -> None:
    """For any value and place, opening gives back the value byte for byte."""
    binding = replace(BINDING, name=name, version=version)
    assert open_(PRIVATE, seal(PUBLIC, generation, value, binding), binding) == value


@given(size=st.integers(0, 4000))
@settings(max_examples=share(60), deadline=None)
def test_a_length_is_hidden_in_a_power_of_two(size: int) -> None:
    """Header and HPKE add 1,174 bytes to a power of two: 64 at least, and under twice the need."""
    padded = len(seal(PUBLIC, 1, b"v" * size, BINDING)) - HEADER_SIZE - 1136
    assert padded >= 64
    assert padded & (padded - 1) == 0
    assert size + 4 <= padded
    assert padded == 64 or padded < 2 * (size + 4)


def test_the_longest_value_fits_and_a_longer_one_is_refused() -> None:
    """131,071 bytes go in, one more does not."""
    longest = b"x" * MAX_VALUE
    assert open_(PRIVATE, seal(PUBLIC, 1, longest, BINDING), BINDING) == longest
    with pytest.raises(ValueRefused):
        seal(PUBLIC, 1, longest + b"x", BINDING)


def test_sealing_twice_gives_different_bytes() -> None:
    """Equal values cannot be told from their sealed forms."""
    again = seal(PUBLIC, 7, b"the value", BINDING)
    assert again[HEADER_SIZE:] != SEALED[HEADER_SIZE:]
    assert again[:HEADER_SIZE] == SEALED[:HEADER_SIZE]


@pytest.mark.parametrize("field", [field.name for field in fields(Binding)])
def test_i2_another_place_does_not_open(field: str) -> None:
    """I2: a value opens for its own project, environment, secret, name, version and rules, and for no other."""
    value = getattr(BINDING, field)
    elsewhere = replace(BINDING, **{field: value + 1 if isinstance(value, int) else f"{value[:-1]}x"})
    with pytest.raises(DoesNotOpen):
        open_(PRIVATE, SEALED, elsewhere)


def test_i2_a_value_sealed_without_rules_opens_only_without_any() -> None:
    """I2: no rules are a binding of their own: none can be added to a sealed value, nor those it has taken away."""
    free = replace(BINDING, rules_digest="")
    assert Binding("a" * 32, "b" * 32, "c" * 32, "DATABASE_URL", 3) == free
    sealed = seal(PUBLIC, 7, b"the value", free)
    assert open_(PRIVATE, sealed, free) == b"the value"
    for value, elsewhere in ((sealed, BINDING), (SEALED, free)):
        with pytest.raises(DoesNotOpen):
            open_(PRIVATE, value, elsewhere)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c", "d", "e"), ("a", "bc", "d", "e")),
        (("a", "bc", "d", "e"), ("a", "b", "cd", "e")),
        (("a", "b", "cd", "e"), ("a", "b", "c", "de")),
        (("a", "", "b", "c"), ("", "a", "b", "c")),
    ],
)
def test_i2_no_two_places_share_an_encoding(left: tuple[str, str, str, str], right: tuple[str, str, str, str]) -> None:
    """I2: fields that give the same bytes one after the other are still different places."""
    sealed = seal(PUBLIC, 1, b"the value", Binding(*left, 1))
    with pytest.raises(DoesNotOpen):
        open_(PRIVATE, sealed, Binding(*right, 1))


@pytest.mark.parametrize("index", range(HEADER_SIZE))
def test_i2_an_altered_header_does_not_open(index: int) -> None:
    """I2: format, suite, generation and fingerprint are bound byte by byte."""
    for flip in (0x01, 0x80):
        altered = bytearray(SEALED)
        altered[index] ^= flip
        with pytest.raises(DoesNotOpen):
            open_(PRIVATE, bytes(altered), BINDING)


@given(index=st.integers(HEADER_SIZE, len(SEALED) - 1), flip=st.integers(1, 255))
@settings(max_examples=share(100), deadline=None)
def test_i2_altered_bytes_do_not_open(index: int, flip: int) -> None:
    """I2: not a byte of the sealed body can be changed."""
    altered = bytearray(SEALED)
    altered[index] ^= flip
    with pytest.raises(DoesNotOpen):
        open_(PRIVATE, bytes(altered), BINDING)


@given(size=st.integers(0, len(SEALED) - 1))
@settings(max_examples=share(50), deadline=None)
def test_i2_a_shortened_value_does_not_open(size: int) -> None:
    """I2: cutting anywhere breaks it, and never with another exception."""
    with pytest.raises(DoesNotOpen):
        open_(PRIVATE, SEALED[:size], BINDING)


def test_i2_a_lengthened_value_does_not_open() -> None:
    """I2: nothing can be appended."""
    with pytest.raises(DoesNotOpen):
        open_(PRIVATE, SEALED + b"\0", BINDING)


def test_i2_another_key_does_not_open() -> None:
    """I2: another private key opens nothing, not even under a header that names it."""
    other = generate_private_key()
    with pytest.raises(DoesNotOpen):
        open_(other, SEALED, BINDING)
    renamed = SEALED[:6] + bytes.fromhex(other.fingerprint) + SEALED[HEADER_SIZE:]
    with pytest.raises(DoesNotOpen):
        open_(other, renamed, BINDING)


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        b"\0" * 63,
        b"\0\0\0\x05value" + b"\0" * 54 + b"x",
        b"\0\0\0\x3d" + b"v" * 60,
        b"\xff\xff\xff\xff" + b"v" * 60,
        b"\0\0\0\x05value" + b"\0" * 119,
        b"\0\0\0\x05value" + b"\0" * 56,
    ],
    ids=["empty", "short", "no zero fill", "too long by one", "too long", "too much fill", "no power of two"],
)
def test_only_the_one_padding_opens(padded: bytes) -> None:
    """A sealer with the public key cannot smuggle bytes in by a padding of its own."""
    head = SEALED[:HEADER_SIZE]
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    body = suite.encrypt(padded, PUBLIC.hybrid(), info=sealing.info(head, BINDING))
    with pytest.raises(DoesNotOpen):
        open_(PRIVATE, head + body, BINDING)


def test_keys_of_another_form_are_refused() -> None:
    """A key of the wrong length or version is refused without quoting it."""
    raw = PRIVATE.to_bytes()
    for wrong in (b"", raw[1:], raw + b"\0", b"\x00" + raw[1:], b"\x02" + raw[1:], raw[:97]):
        with pytest.raises(KeyUnreadable) as refusal:
            PrivateKey.from_bytes(wrong)
        assert str(refusal.value) == "this version cannot read the private key"
    for wrong in (b"", PUBLIC.to_bytes()[1:], PUBLIC.to_bytes()[:1216], b"\xff" * 1248):
        with pytest.raises(KeyUnreadable):
            PublicKey.from_bytes(wrong)


def test_a_private_key_does_not_print_itself() -> None:
    """I1: neither repr nor str shows key material."""
    assert repr(PRIVATE) == str(PRIVATE) == "PrivateKey(***)"


def test_i10_the_error_says_nothing_and_carries_no_cause() -> None:
    """I10: what failed inside is not chained to the error that leaves."""
    with pytest.raises(DoesNotOpen) as refusal:
        open_(PRIVATE, SEALED[:-1] + b"\0", BINDING)
    assert str(refusal.value) == "the sealed value does not open"
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__
