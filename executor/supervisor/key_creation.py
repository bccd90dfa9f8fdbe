"""Make a key pair, or rewrap some, in a one-shot process. `executor.keys.creation` starts it."""

import json
import sys
from typing import Any

from executor.sandbox import kernel
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess, KeyPlace, WrappedKeyPair
from secretstore.keyring import generate_wrapped, key_service, rewrap_pair


def main() -> int:
    """Read a request from stdin and print public and wrapped halves; the private half ends with this process."""
    kernel.harden()
    request = json.load(sys.stdin)
    access = KeyAccess.from_json(request["access"])
    try:
        if "keys" in request:
            answer: dict[str, Any] = {"keys": [_rewrap(access, key) for key in request["keys"]]}
        else:
            place = KeyPlace(**request["place"])
            answer = generate_wrapped(key_service(access), place, request["generation"]).to_json()
    except SealrunError as error:
        answer = _error_document(error)
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


def _rewrap(access: KeyAccess, key: dict[str, Any]) -> dict[str, Any] | None:
    """Wrap the pair under the first key service; return None if it is already, or an error."""
    try:
        pair = rewrap_pair(access, KeyPlace(**key["place"]), WrappedKeyPair.from_json(key["pair"]))
    except SealrunError as error:
        return _error_document(error)
    except Exception as error:  # noqa: BLE001  # it may quote a key; only its type leaves this process
        return {"error": type(error).__name__, "message": "the key pair could not be rewrapped", "hint": None}
    return pair.to_json() if pair is not None else None


def _error_document(error: SealrunError) -> dict[str, Any]:
    return {"error": error.code, "message": str(error), "hint": error.hint}


if __name__ == "__main__":
    sys.exit(main())
