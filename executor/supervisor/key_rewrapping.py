"""Wrap private keys anew in a one-shot process, where they are plaintext unless AWS KMS moves them by itself.

`executor.keys.creation` starts it.
"""

import json
import sys
from typing import Any

from executor.sandbox import kernel
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess, KeyPlace, WrappedKeyPair
from secretstore.unwrapping import rewrap_pair


def main() -> int:
    """Read a request from stdin and print the key pairs, wrapped anew; the private halves end with this process."""
    kernel.harden()
    request = json.load(sys.stdin)
    access = KeyAccess.from_json(request["access"])
    json.dump({"keys": [_rewrap(access, key) for key in request["keys"]]}, sys.stdout)
    return 0


def _rewrap(access: KeyAccess, key: dict[str, Any]) -> dict[str, Any] | None:
    """Wrap the pair under the first key service; return None if it is already, or an error."""
    try:
        pair = rewrap_pair(access, KeyPlace(**key["place"]), WrappedKeyPair.from_json(key["pair"]))
    except SealrunError as error:
        return {"error": error.code, "message": str(error), "hint": error.hint}
    except Exception as error:  # noqa: BLE001  # it may quote a key; only its type leaves this process
        return {"error": type(error).__name__, "message": "the key pair could not be rewrapped", "hint": None}
    return pair.to_json() if pair is not None else None


if __name__ == "__main__":
    sys.exit(main())
