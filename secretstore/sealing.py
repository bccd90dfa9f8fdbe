"""Seal a value to an environment's public key, and open it with the private one. Pure, without I/O.

HPKE (RFC 9180) in base mode with the hybrid KEM of ML-KEM-768 and X25519 (X-Wing, 0x647a), HKDF-SHA256 and
AES-256-GCM: a ciphertext copied today stays closed to a quantum computer later. There are no options.

A sealed value is a header of 38 bytes and HPKE's encapsulated key and ciphertext:

    format u8 | suite u8 | generation u32 | fingerprint of the public key, 32 bytes | HPKE

Header and binding together are HPKE's `info`, each field behind its length, so that no two bindings share an
encoding:

    label | format | suite | generation | fingerprint |
    project id | environment id | secret id | name | version | digest of the secret's rules

A value sealed for one place, name, version and set of rules therefore opens for no other. The digest is reserved:
secrets have no rules, and it is empty.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from secretstore.errors import DoesNotOpen, KeyUnreadable, ValueRefused

FORMAT = 1
SUITE = 1
MAX_VALUE = 131_071
"""Bytes of the longest value: the limit of one `NAME=value` in a process's environment."""

_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_LABEL = b"sealrun sealed secret"
_HEADER = struct.Struct(">BBI32s")
_LENGTH = struct.Struct(">I")
_LEAST_PADDED = 64
HEADER_SIZE = _HEADER.size
_OVERHEAD = 1136  # bytes of HPKE: the encapsulated key of X-Wing, 1,120, and the tag of AES-GCM, 16
_PRIVATE_FORM = b"\x01"
LONGEST_SEALED = _HEADER.size + _OVERHEAD + (1 << (_LENGTH.size + MAX_VALUE - 1).bit_length())
"""Bytes of the longest value once it is padded and sealed."""

_SEALED_SIZES = frozenset(
    _HEADER.size + _OVERHEAD + (1 << bits)
    for bits in range(_LEAST_PADDED.bit_length() - 1, (_LENGTH.size + MAX_VALUE - 1).bit_length() + 1)
)

_SEED, _MLKEM_PUBLIC, _X25519, _ED25519 = 64, 1184, 32, 32


@dataclass(frozen=True)
class Binding:
    """Where a sealed value belongs. Ids are random and never reused, so a deleted place stays deleted."""

    project_id: str
    environment_id: str
    secret_id: str
    name: str
    version: int
    rules_digest: str = ""
    """Reserved for rules of a secret, such as the hosts it may be sent to; empty everywhere."""


@dataclass(frozen=True)
class Header:
    """The readable part of a sealed value."""

    format: int
    suite: int
    generation: int
    fingerprint: str


class PublicKey:
    """An environment's public key: it seals, and verifies what the private half has vouched for."""

    __slots__ = ("_ed25519", "_mlkem", "_x25519")

    def __init__(self, mlkem: MLKEM768PublicKey, x25519: X25519PublicKey, ed25519: Ed25519PublicKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519
        self._ed25519 = ed25519

    @classmethod
    def from_bytes(cls, raw: bytes) -> "PublicKey":
        """Read 1,184 bytes of ML-KEM-768, 32 of X25519 and 32 of Ed25519.

        Raises:
            KeyUnreadable: the length or a part is wrong.
        """
        hybrid = _MLKEM_PUBLIC + _X25519
        if len(raw) != hybrid + _ED25519:
            raise KeyUnreadable(kind="public")
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC])
            x25519 = X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:hybrid])
            signing = Ed25519PublicKey.from_public_bytes(raw[hybrid:])
        except ValueError:
            raise KeyUnreadable(kind="public") from None
        return cls(mlkem, x25519, signing)

    def to_bytes(self) -> bytes:
        """Return the raw parts, 1,248 bytes."""
        return self._mlkem.public_bytes_raw() + self._x25519.public_bytes_raw() + self._ed25519.public_bytes_raw()

    def hybrid(self) -> MLKEM768X25519PublicKey:
        """Return the key as HPKE takes it."""
        return MLKEM768X25519PublicKey(self._mlkem, self._x25519)

    def has_vouched(self, voucher: bytes, statement: bytes) -> bool:
        """Whether the private half signed this statement."""
        try:
            self._ed25519.verify(voucher, statement)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """An environment's private key. It lives in one-shot processes only, and its repr says nothing."""

    __slots__ = ("_ed25519", "_mlkem", "_x25519", "fingerprint")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey, ed25519: Ed25519PrivateKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519
        self._ed25519 = ed25519
        self.fingerprint = fingerprint(self.public_key())

    @classmethod
    def from_bytes(cls, raw: bytes) -> "PrivateKey":
        """Read what `to_bytes` wrote.

        Raises:
            KeyUnreadable: the form or the length is unknown. The bytes are not quoted.
        """
        form, parts = raw[:1], raw[1:]
        if form != _PRIVATE_FORM or len(parts) != _SEED + _X25519 + _ED25519:
            raise KeyUnreadable(kind="private")
        seed, scalar, ed25519 = parts[:_SEED], parts[_SEED : _SEED + _X25519], parts[_SEED + _X25519 :]
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(seed),
            X25519PrivateKey.from_private_bytes(scalar),
            Ed25519PrivateKey.from_private_bytes(ed25519),
        )

    def to_bytes(self) -> bytes:
        """Return 129 bytes of plaintext: the form, the 64-byte ML-KEM seed, the X25519 scalar, the Ed25519 seed."""
        parts = (self._mlkem, self._x25519, self._ed25519)
        return _PRIVATE_FORM + b"".join(part.private_bytes_raw() for part in parts)

    def public_key(self) -> PublicKey:
        """Return the public half."""
        return PublicKey(self._mlkem.public_key(), self._x25519.public_key(), self._ed25519.public_key())

    def hybrid(self) -> MLKEM768X25519PrivateKey:
        """Return the key as HPKE takes it."""
        return MLKEM768X25519PrivateKey(self._mlkem, self._x25519)

    def vouch(self, statement: bytes) -> bytes:
        """Sign a statement with Ed25519 (RFC 8032), 64 bytes."""
        return self._ed25519.sign(statement)

    def __repr__(self) -> str:
        return "PrivateKey(***)"


def generate_private_key() -> PrivateKey:
    """Generate a key pair from the operating system's randomness."""
    return PrivateKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate(), Ed25519PrivateKey.generate())


def fingerprint(public: PublicKey) -> str:
    """Return the SHA-256 of the public key's raw bytes, 64 hexadecimal digits."""
    return sha256(public.to_bytes()).hexdigest()


def succession(
    project_id: str, environment_id: str, generation: int, fingerprint: str, successor: int, successor_fingerprint: str
) -> bytes:
    """Return the statement that a key pair signs to vouch for its successor.

    Each field follows its length, so that no two statements share an encoding.
    """
    return _framed(
        b"sealrun key succession",
        project_id.encode(),
        environment_id.encode(),
        struct.pack(">I", generation),
        bytes.fromhex(fingerprint),
        struct.pack(">I", successor),
        bytes.fromhex(successor_fingerprint),
    )


def seal(public: PublicKey, generation: int, value: bytes, binding: Binding) -> bytes:
    """Seal a value so that only the private key opens it, and only for `binding`.

    Args:
        generation: the key pair's number within its environment, from 1.
        value: at most `MAX_VALUE` bytes.

    Raises:
        ValueRefused: the value has more than `MAX_VALUE` bytes.
    """
    if len(value) > MAX_VALUE:
        raise ValueRefused("a value has at most {limit} bytes", limit=MAX_VALUE)
    header = _HEADER.pack(FORMAT, SUITE, generation, bytes.fromhex(fingerprint(public)))
    return header + _HPKE.encrypt(padded(value), public.hybrid(), info=info(header, binding))


def open_(private: PrivateKey, sealed: bytes, binding: Binding) -> bytes:
    """Open what `seal` made with this key's public half for this binding.

    Raises:
        DoesNotOpen: it was altered, moved or sealed to another key; it says no more on purpose.
    """
    found = header(sealed)
    if (found.format, found.suite, found.fingerprint) != (FORMAT, SUITE, private.fingerprint):
        raise DoesNotOpen
    head, body = sealed[: _HEADER.size], sealed[_HEADER.size :]
    try:
        plain = _HPKE.decrypt(body, private.hybrid(), info=info(head, binding))
    except (InvalidTag, struct.error):  # struct.error: a version that no sealed value has
        raise DoesNotOpen from None
    return _unpad(plain)


def header(sealed: bytes) -> Header:
    """Read the header. It is a claim until the value has been opened.

    Raises:
        DoesNotOpen: it is shorter than a header.
    """
    if len(sealed) < _HEADER.size:
        raise DoesNotOpen
    format_, suite, generation, mark = _HEADER.unpack_from(sealed)
    return Header(format_, suite, generation, mark.hex())


def why_not_sealed_to(sealed: bytes, generation: int, mark: str) -> str | None:
    """Say why bytes cannot be a value that was sealed to a key pair, as far as one sees without its private half.

    Args:
        sealed: the bytes.
        generation: the key pair's.
        mark: the fingerprint of its public half.
    """
    if len(sealed) not in _SEALED_SIZES:
        return "it has not the size of a sealed value"
    found = header(sealed)
    if (found.format, found.suite) != (FORMAT, SUITE):
        return f"its format is {found.format} and its suite {found.suite}, not {FORMAT} and {SUITE}"
    if (found.generation, found.fingerprint) != (generation, mark):
        return (
            f"it is addressed to generation {found.generation}, {found.fingerprint[:16]}…, not to the current key pair"
        )
    return None


def info(head: bytes, binding: Binding) -> bytes:
    """Return HPKE's `info`: what a value is sealed for, each field behind its length."""
    return _of_environment(head, binding.project_id, binding.environment_id) + _framed(
        binding.secret_id.encode(),
        binding.name.encode(),
        struct.pack(">Q", binding.version),
        binding.rules_digest.encode(),
    )


@lru_cache(maxsize=16)
def _of_environment(head: bytes, project_id: str, environment_id: str) -> bytes:
    """What all values of an environment have in common."""
    format_, suite, generation, mark = _HEADER.unpack(head)
    return _framed(
        _LABEL,
        struct.pack(">B", format_),
        struct.pack(">B", suite),
        struct.pack(">I", generation),
        mark,
        project_id.encode(),
        environment_id.encode(),
    )


def _framed(*fields: bytes) -> bytes:
    return b"".join([part for field in fields for part in (_LENGTH.pack(len(field)), field)])


def padded(value: bytes) -> bytes:
    """Pad to a power of two, to hide the length: the length, the value, zeros."""
    body = _LENGTH.pack(len(value)) + value
    size = max(_LEAST_PADDED, 1 << (len(body) - 1).bit_length())
    return body.ljust(size, b"\0")


def _unpad(plain: bytes) -> bytes:
    """Accept only the padding that `padded` makes: a value has a single padded form."""
    if len(plain) < _LEAST_PADDED:
        raise DoesNotOpen
    (length,) = _LENGTH.unpack_from(plain)
    value = plain[_LENGTH.size : _LENGTH.size + length]
    if len(value) != length or padded(value) != plain:
        raise DoesNotOpen
    return value
