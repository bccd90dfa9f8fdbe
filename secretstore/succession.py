"""The generations of an environment's key pair: who seals checks for themselves that each has vouched for the next.

It comes from a database or over a network, and nothing in it is believed but what follows from a key pair that the
reader knows already. All generations are always told: who told a server which one they know would tell it, too, that
they know none, and whom to give a key pair of its own.
"""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from secretstore import sealing
from secretstore.errors import KeyUnreadable
from secretstore.sealing import PublicKey

SHORT = 16
"""Digits of a fingerprint that is shown beside another."""

_ID = re.compile(r"[0-9a-f]{32}")
_MOST = (1 << 31) - 1


def _decoded(given: Any) -> Any:
    return b64decode(given, validate=True) if isinstance(given, str) else given


Encoded = Annotated[
    bytes,
    BeforeValidator(_decoded),
    PlainSerializer(lambda raw: b64encode(raw).decode("ascii"), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Bytes, which are base64 (RFC 4648, with padding) in JSON."""


@dataclass(frozen=True)
class KeyLink:
    """The public half of one generation, and what the one before it has signed."""

    generation: int
    public_key: Encoded = field(repr=False)
    voucher: Encoded | None = field(repr=False)


@dataclass(frozen=True)
class Succession:
    """All generations of an environment's key pair up to the current one, `generation`, as somebody says they are.

    `fingerprint` is for people to compare. Who seals makes it of the public key.
    """

    project_id: str
    environment_id: str
    generation: int
    fingerprint: str
    pairs: tuple[KeyLink, ...]

    def current(self) -> PublicKey:
        """Return the public key of the current generation.

        Raises:
            KeyUnreadable: it is not there, or cannot be read; or what it belongs to has no form of ours.
        """
        if not (is_id(self.project_id) and is_id(self.environment_id) and is_number(self.generation)):
            raise KeyUnreadable("what is said of its key pair has not the form of ids and a generation")
        for pair in self.pairs:
            if pair.generation == self.generation:
                try:
                    return PublicKey.from_bytes(pair.public_key)
                except KeyUnreadable:
                    text = "generation {generation} has no readable public key"
                    raise KeyUnreadable(text, generation=self.generation) from None
        raise KeyUnreadable("its generation {generation} is missing", generation=self.generation)

    def broken_link(self, generation: int, fingerprint: str) -> str | None:
        """Say why the current generation does not follow from one that is known; None where it does."""
        now = sealing.fingerprint(self.current())
        if self.generation < generation:
            return (
                f"generation {self.generation}, {now[:SHORT]}… is a step back: "
                "an older copy of the database was restored, or an older key put back"
            )
        if self.generation == generation:
            if now == fingerprint:
                return None
            return (
                f"generation {self.generation} has another fingerprint, {now[:SHORT]}…: "
                "the environment was recreated, or its key was swapped"
            )
        return self._gap(generation, fingerprint)

    def _gap(self, first: int, mark: str) -> str | None:
        pairs = {pair.generation: pair for pair in self.pairs}
        # Each public key is checked against a fingerprint we trust, the known one at first, then checks the next one.
        known = None
        for generation in range(first, self.generation + 1):
            if generation not in pairs:
                return f"generation {generation} is missing, so nothing explains generation {self.generation}"
            try:
                public = PublicKey.from_bytes(pairs[generation].public_key)
            except KeyUnreadable:
                return f"generation {generation} has no readable public key"
            found = sealing.fingerprint(public)
            if known is None and found != mark:
                return f"generation {generation} has another fingerprint, {found[:SHORT]}…: its key was swapped"
            if known is not None:
                about = self.project_id, self.environment_id, generation - 1, mark, generation, found
                if not known.has_vouched(pairs[generation].voucher or b"", sealing.succession(*about)):
                    return f"generation {generation}, {found[:SHORT]}… is not vouched for by the one before it"
            known, mark = public, found
        return None


def claimed_fingerprint(public_key: bytes) -> str:
    """Return what the fingerprint of a public key is, whether or not it can be read."""
    return sha256(public_key).hexdigest()


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def is_number(number: int) -> bool:
    """Whether a number can be that of a generation or a version."""
    return 1 <= number <= _MOST
