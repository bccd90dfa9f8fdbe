"""Makes the vectors of sealed values and wrapped keys, in the place of those that are there.

python tests/vectors/make.py

There is no release yet, so a change of a format makes them anew. They are frozen when the API is done: from then on
every version has to open them, and a new format gets files of its own beside them.
"""

import json
from base64 import b64encode
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from secretstore.key_files import create_local_key
from secretstore.key_service import KeyPlace
from secretstore.keyring import wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.sealing import Binding, PrivateKey, generate_private_key, seal

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
