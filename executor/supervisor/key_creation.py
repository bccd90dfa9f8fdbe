"""One-shot: a key pair is born here, or wrapped anew, and forgotten. `executor.keys.creation` starts one for each."""

import json
import sys
from typing import Any

from executor.sandbox import kernel
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess, KeyPlace, WrappedKeyPair
from secretstore.keyring import generate_wrapped, key_service, rewrap_pair


def main() -> int:
    """Read one request from stdin, print public and wrapped halves; the private half dies with this process."""
    kernel.harden()
    request = json.load(sys.stdin)
    access = KeyAccess.from_json(request["access"])
    try:
        if "keys" in request:
            answer: dict[str, Any] = {"keys": [_rewrapped(access, key) for key in request["keys"]]}
        else:
            place = KeyPlace(**request["place"])
            answer = generate_wrapped(key_service(access), place, request["generation"]).to_json()
    except SealrunError as error:
        answer = _told(error)
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


def _rewrapped(access: KeyAccess, key: dict[str, Any]) -> dict[str, Any] | None:
    """The pair under the first key service; None where it is under that already; or why it could not be."""
    try:
        pair = rewrap_pair(access, KeyPlace(**key["place"]), WrappedKeyPair.from_json(key["pair"]))
    except SealrunError as error:
        return _told(error)
    except Exception as error:  # noqa: BLE001  # it may quote what it saw; only its kind leaves this process
        return {"error": type(error).__name__, "message": "it could not be wrapped anew", "hint": None}
    return pair.to_json() if pair is not None else None


def _told(error: SealrunError) -> dict[str, Any]:
    return {"error": error.code, "message": str(error), "hint": error.hint}


if __name__ == "__main__":
    sys.exit(main())
