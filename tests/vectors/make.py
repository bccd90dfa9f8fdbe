"""Makes the vectors of sealed values and wrapped keys, in the place of those that are there.

python tests/vectors/make.py

There is no release yet, so a change of a format makes them anew. They are frozen when the API is done: from then on
every version has to open them, and a new format gets files of its own beside them.
"""

import json
from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from secretstore.entries import NewSecret
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyPlace
from secretstore.keyring import wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.reservation import Reservation, ReservedPlace, ReservedSecret, SealedSecret, seal_reserved
from secretstore.sealing import (
    HEADER_SIZE,
    Binding,
    PrivateKey,
    generate_private_key,
    info,
    padded,
    seal,
    succession,
)
from secretstore.succession import KeyLink, Succession

HERE = Path(__file__).parent

VALUES = {
    "empty": b"",
    "one byte": b"x",
    "a password": b"correct horse battery staple",
    "fills 64 bytes": b"a" * 60,
    "needs 128 bytes": b"b" * 61,
    "text in UTF-8": "Grüße, 世界 🔑".encode(),
    "every byte": bytes(range(256)),
    "zeros at the end": b"value\0\0\0",
    "several lines": b"-----BEGIN KEY-----\r\nMIIB\nAgEA\n-----END KEY-----\n",
    "5,000 bytes": b"0123456789" * 500,
}


def main() -> None:
    keys = [generate_private_key() for _ in range(2)]
    _write("sealed-1.json", {"keys": [_key(key) for key in keys], "values": _values(keys)})
    _write("local-wrap-1.json", _wrap(keys[0]))
    _write("reserved-1.json", _reserved(keys))


def _key(key: PrivateKey) -> dict[str, str]:
    return {
        "private": _text(key.to_bytes()),
        "public": _text(key.public_key().to_bytes()),
        "fingerprint": key.fingerprint,
    }


def _values(keys: list[PrivateKey]) -> list[dict[str, object]]:
    vectors: list[dict[str, object]] = []
    for number, (title, value) in enumerate(VALUES.items()):
        key, generation, version = number % 2, (1, 2, 4_294_967_295)[number % 3], 1 + number * number
        ids = [f"{number + more:032x}" for more in range(3)]
        rules_digest = sha256(b"rules %d" % number).hexdigest() if number % 3 == 1 else ""
        binding = Binding(*ids, f"api.key-{number}", version, rules_digest)
        sealed = seal(keys[key].public_key(), generation, value, binding)
        vectors.append(
            {
                "title": title,
                "key": key,
                "generation": generation,
                "binding": asdict(binding),
                "value": _text(value),
                "sealed": _text(sealed),
            }
        )
    return vectors


def _reserved(keys: list[PrivateKey]) -> dict[str, object]:
    """What a client is told, knows and has, and what it sends: all that one in another language needs to be tried."""
    project_id, environment_id = "1" * 32, "2" * 32
    first, second = keys
    about = project_id, environment_id, 1, first.fingerprint, 2, second.fingerprint
    statement = succession(*about)
    pairs = (
        KeyLink(1, first.public_key().to_bytes(), None),
        KeyLink(2, second.public_key().to_bytes(), first.vouch(statement)),
    )
    key = Succession(project_id, environment_id, 2, second.fingerprint, pairs)
    names = {"API_KEY": ("3" * 32, 1), "tls.key": ("4" * 32, 2_147_483_647)}
    secrets = tuple(ReservedSecret(name, *reserved) for name, reserved in names.items())
    place = ReservedPlace("prod", key, secrets)
    reservation = Reservation("5" * 32, datetime(2030, 1, 31, 12, tzinfo=UTC), (place,))
    values = {"API_KEY": b"correct horse battery staple", "tls.key": bytes(range(256))}
    entries = [NewSecret("prod", name, value, as_file=name == "tls.key" or None) for name, value in values.items()]
    with TemporaryDirectory() as folder:
        pins = Pins(Path(folder, "known_keys"), "https://sealrun.example")
        known = Pin(project_id, environment_id, 1, first.fingerprint)
        pins.remember("shop", "prod", known)
        sealed = seal_reserved(reservation, "shop", entries, pins)
    bindings = {one.name: Binding(project_id, environment_id, one.secret_id, one.name, one.version) for one in secrets}
    return {
        "project": "shop",
        "pin": str(known),
        "reservation": TypeAdapter(Reservation).dump_python(reservation, mode="json"),
        "private": _text(second.to_bytes()),
        "statement": statement.hex(),
        "values": {name: _text(value) for name, value in values.items()},
        "padded": {name: padded(value).hex() for name, value in values.items()},
        "info": {one.name: info(one.sealed[:HEADER_SIZE], bindings[one.name]).hex() for one in sealed},
        "sealed": TypeAdapter(tuple[SealedSecret, ...]).dump_python(sealed, mode="json"),
    }


def _wrap(key: PrivateKey) -> dict[str, object]:
    context = wrapping_context(KeyPlace("shop", "a" * 32, "staging", "b" * 32), key.fingerprint)
    with TemporaryDirectory() as folder:
        file = Path(folder, "local.key")
        create_local_key(file)
        wrapped = LocalKeys(file).wrap(key.to_bytes(), context)
        return {
            "id": LocalKeys(file).id,
            "file": file.read_text(),
            "public_file": file.with_suffix(".pub").read_text(),
            "context": context,
            "private": _text(key.to_bytes()),
            "wrapped": _text(wrapped),
        }


def _write(name: str, content: object) -> None:
    (HERE / name).write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


if __name__ == "__main__":
    main()
