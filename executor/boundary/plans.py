"""Signed plans: what a server has accepted, in bytes that nobody writes who can only write to the database.

A plan is a document of a kind (`run`, `job`) with a signature (Ed25519, RFC 8032) over its canonical form: JSON with
sorted keys, without blanks, in ASCII. The kind is in what is signed, so that a plan of one is none of another. It holds
no secret. The opener imports this: the standard library and `cryptography` only.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from executor.errors import PlanRefused
from secretstore.run_connection import RunConnection

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from secretstore.bundle import SealedBundle
    from secretstore.key_service import KeyPlace

PREFIX = "ed25519:"
SIGNER_FORM = f"{PREFIX}…"
RUN, JOB = "run", "job"
_KEY = 32

Signed = dict[str, str]
"""A signature on its way: the `key` that made it, by its id, and the `signature`."""


def canonical(document: Any) -> str:
    """Return a document as text that is the same before it is stored and after: what JSON does not know is gone first.

    Raises:
        TypeError, ValueError, RecursionError: it is no JSON.
    """
    plain = json.loads(json.dumps(document))
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def digest(document: Any) -> str:
    """Return the SHA-256 of a document's canonical form."""
    return sha256(canonical(document).encode()).hexdigest()


@dataclass(frozen=True)
class Signer:
    """The public half of a server's signing key."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """Read what `str` gives.

        Raises:
            ValueError: it is no public key; it is not quoted.
        """
        if not text.startswith(PREFIX):
            raise ValueError
        raw = urlsafe_b64decode(text.removeprefix(PREFIX) + "=")
        if len(raw) != _KEY:
            raise ValueError
        return cls(raw)

    @property
    def id(self) -> str:
        """What names it: the first sixteen hexadecimal digits of its hash."""
        return sha256(b"sealrun signer" + self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return PREFIX + urlsafe_b64encode(self.raw).decode("ascii").rstrip("=")

    def made(self, signature: bytes, signed: bytes) -> bool:
        """Whether a signature is its own, of these bytes."""
        # Here: the settings need the key's form alone, and every command reads them.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, signed)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A server's private half."""

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.signer = Signer(private.public_key().public_bytes_raw())

    def sign(self, kind: str, content: str) -> Signed:
        """Sign a plan of a kind, whose content is in its canonical form."""
        signature = self._private.sign(_signed(kind, content))
        return {"key": self.signer.id, "signature": urlsafe_b64encode(signature).decode("ascii")}


def verify(signers: Collection[Signer], kind: str, content: str, signed: object) -> dict[str, Any]:
    """Return what a plan says, once one of these signers has said it.

    Raises:
        PlanRefused: there is no signature, or it is another's, or of something else.
    """
    if not isinstance(signed, dict) or not isinstance(signed.get("signature"), str):
        raise PlanRefused(why="it bears no signature")
    known = [signer for signer in signers if signer.id == signed.get("key")]
    if not known:
        raise PlanRefused(why="its signature is of a key that is none of this worker's SEALRUN_SIGNERS")
    try:
        signature = urlsafe_b64decode(signed["signature"].encode())
    except ValueError:
        signature = b""
    if not any(signer.made(signature, _signed(kind, content)) for signer in known):
        raise PlanRefused(why="it is not what was signed: it was changed since, or the signature is another's")
    document: dict[str, Any] = json.loads(content)
    return document


def check_opening(signers: Collection[Signer], bundle: "SealedBundle", request: Mapping[str, Any]) -> None:
    """Hold what an opener is asked for against the signed plan of its run.

    Args:
        signers: whose plans count.
        bundle: the sealed values.
        request: the `content` of the plan and how it was `signed`; and what the run is given beside its secrets: for
            which `run` and `phase`, `variables` and `connections`.

    Raises:
        PlanRefused: it is more than, or other than, what was signed.
    """
    plan = verify(signers, RUN, request.get("content", ""), request.get("signed"))
    asked = plan["asked"]
    of_plan = plan["run"], *(asked[name] for name in ("project_id", "project", "environment_id", "environment"))
    of_bundle = bundle.project_id, bundle.project, bundle.environment_id, bundle.environment
    if of_plan != (request["run"], *of_bundle):
        raise PlanRefused(why="the secrets to be opened are of another run, project or environment")
    variables = plan["variables"] | asked["variables"]
    if not request["variables"].items() <= variables.items():
        raise PlanRefused(why="the variables are not those that were signed")
    connections = [RunConnection.from_json(one) for one in request["connections"]]
    if (found := held(plan["connections"], connections)) != connections:
        new = next(after for before, after in zip(connections, found, strict=True) if before != after)
        raise PlanRefused(why=f"{new.label} was not there when the run was accepted")
    if extra := sorted({item.name for item in bundle.items} - _allowed(plan, request["phase"], connections)):
        raise PlanRefused(why=f"it does not ask for the secret {extra[0]}")


def check_resealing(
    signers: Collection[Signer], kind: str, place: "KeyPlace", name: str | None, plan: Mapping[str, Any]
) -> None:
    """Hold what a private key is to be unwrapped for against the signed plan of its job.

    Args:
        signers: whose plans count.
        kind: what is to be done: `rotate` or `rename`.
        place: whose key it is.
        name: what a secret is to be called.
        plan: its `content`, and how it was `signed`.

    Raises:
        PlanRefused: it is other than what was signed.
    """
    document = verify(signers, JOB, plan.get("content", ""), plan.get("signed"))
    asked = document["asked"]
    if kind != asked["kind"] or any(asked[field] != value for field, value in vars(place).items()):
        raise PlanRefused(why="the key to be unwrapped is for something else than was asked for")
    if name != asked["asked"].get("new"):
        raise PlanRefused(why="a secret is to have another name than was asked for")


def pin(one: RunConnection) -> str:
    """Return what pins a data source or catalog: where it leads, and which secrets it names."""
    return digest([one.role, one.name, one.kind, one.settings])


def held(pins: Mapping[str, str], connections: Iterable[RunConnection]) -> list[RunConnection]:
    """Return what a run may be given of these: one that was not there when the run was accepted is refused to it.

    Raises:
        PlanRefused: one is not as it was.
    """
    found = []
    for one in connections:
        if one.refused is None and one.key not in pins:
            one = replace(one, refused="it was not there, or not complete, when the run was accepted")
        elif one.refused is None and pins[one.key] != pin(one):
            raise PlanRefused(why=f"{one.label} is not as it was when the run was accepted")
        found.append(one)
    return found


def _allowed(plan: Mapping[str, Any], phase: str, connections: Iterable[RunConnection]) -> set[str]:
    asked = plan["asked"]
    if phase != RUN:
        return set(asked["setup_secret_names"] or ())
    of_connections = (one.secrets() for one in connections if one.refused is None)
    named = asked["secret_names"] if asked["secret_names"] is not None else plan["secrets"]
    return set(named).union(*of_connections)


def _signed(kind: str, content: str) -> bytes:
    return f"sealrun plan 1 {kind}\n{content}".encode()
