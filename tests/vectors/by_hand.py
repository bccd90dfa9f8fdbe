"""Sealing as docs/internals/sealing.md describes it, from primitives alone: nothing of sealrun is imported.

What a client in another language has to do, in the order of the page. `cryptography` has no part in HPKE or X-Wing
here; it gives ML-KEM-768, X25519, Ed25519 and AES-256-GCM.
"""

import hashlib
import hmac
import struct
from base64 import b64decode, b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITE_ID = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0002)


def framed(*fields: bytes) -> bytes:
    """Each field behind its length."""
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def fingerprint(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()


def current_key(answer: dict[str, Any], pin: str) -> tuple[int, bytes]:
    """Follow the vouchers from the pin to the current generation of the reserved place; its number and public key."""
    project_id, environment_id, generation, mark = pin.split(":")
    assert (answer["project_id"], answer["environment_id"]) == (project_id, environment_id)
    pairs = {pair["generation"]: pair for pair in answer["pairs"]}
    known = b64decode(pairs[int(generation)]["public_key"])
    assert fingerprint(known).hex() == mark
    for number in range(int(generation) + 1, answer["generation"] + 1):
        public = b64decode(pairs[number]["public_key"])
        statement = statement_of(project_id, environment_id, number, known, public)
        Ed25519PublicKey.from_public_bytes(known[-32:]).verify(b64decode(pairs[number]["voucher"]), statement)
        known = public
    return answer["generation"], known


def statement_of(project_id: str, environment_id: str, successor: int, before: bytes, after: bytes) -> bytes:
    return framed(
        b"sealrun key succession",
        project_id.encode(),
        environment_id.encode(),
        struct.pack(">I", successor - 1),
        fingerprint(before),
        struct.pack(">I", successor),
        fingerprint(after),
    )


def header_of(generation: int, public: bytes) -> bytes:
    return struct.pack(">BBI", 1, 1, generation) + fingerprint(public)


def info_of(head: bytes, project_id: str, environment_id: str, secret_id: str, name: str, version: int) -> bytes:
    return framed(
        b"sealrun sealed secret",
        head[0:1],
        head[1:2],
        head[2:6],
        head[6:38],
        project_id.encode(),
        environment_id.encode(),
        secret_id.encode(),
        name.encode(),
        struct.pack(">Q", version),
        b"",
    )


def padded(value: bytes) -> bytes:
    body = struct.pack(">I", len(value)) + value
    size = 64
    while size < len(body):
        size *= 2
    return body + bytes(size - len(body))


def seal(generation: int, public: bytes, info: bytes, value: bytes) -> bytes:
    shared, ct_mlkem = MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    own = X25519PrivateKey.generate()
    ct_x25519 = own.public_key().public_bytes_raw()
    curve = own.exchange(X25519PublicKey.from_public_bytes(public[1184:1216]))
    key, nonce = schedule(x_wing(shared, curve, ct_x25519, public[1184:1216]), info)
    return header_of(generation, public) + ct_mlkem + ct_x25519 + AESGCM(key).encrypt(nonce, padded(value), b"")


def unseal(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """What an opener does with the private key of a vector: its form, the ML-KEM seed, the scalar of X25519."""
    ct_mlkem, ct_x25519, body = sealed[38:1126], sealed[1126:1158], sealed[1158:]
    scalar = X25519PrivateKey.from_private_bytes(private[65:97])
    shared = MLKEM768PrivateKey.from_seed_bytes(private[1:65]).decapsulate(ct_mlkem)
    curve = scalar.exchange(X25519PublicKey.from_public_bytes(ct_x25519))
    key, nonce = schedule(x_wing(shared, curve, ct_x25519, scalar.public_key().public_bytes_raw()), info)
    plain = AESGCM(key).decrypt(nonce, body, b"")
    (length,) = struct.unpack_from(">I", plain)
    return plain[4 : 4 + length]


def x_wing(shared: bytes, curve: bytes, ct_x25519: bytes, public_x25519: bytes) -> bytes:
    label = b"\\.//^\\"  # X-Wing's, six bytes
    return hashlib.sha3_256(shared + curve + ct_x25519 + public_x25519 + label).digest()


def schedule(secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """HPKE's key schedule in base mode, for one message: key and nonce."""
    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    begun = extract(secret, b"secret", b"")
    return expand(begun, b"key", context, 32), expand(begun, b"base_nonce", context, 12)


def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE_ID + label + material, "sha256")


def expand(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
    labeled = struct.pack(">H", length) + b"HPKE-v1" + SUITE_ID + label + context
    return hmac.digest(key, labeled + b"\1", "sha256")[:length]


def request_for(vector: dict[str, Any]) -> list[dict[str, Any]]:
    """What a client sends of a vector's values, sealed anew."""
    (place,) = vector["reservation"]["places"]
    generation, public = current_key(place["key"], vector["pin"])
    ids = vector["pin"].split(":")[:2]
    sealed = []
    for secret in place["secrets"]:
        info = info_of(header_of(generation, public), *ids, secret["secret_id"], secret["name"], secret["version"])
        body = seal(generation, public, info, b64decode(vector["values"][secret["name"]]))
        sealed.append(
            {
                "environment": place["environment"],
                "name": secret["name"],
                "sealed": b64encode(body).decode("ascii"),
                "maskable": True,
                "as_file": secret["name"] == "tls.key" or None,
            }
        )
    return sealed
