"""Make a key pair in a one-shot process, which can wrap its private half and unwrap none.

`executor.keys.creation` starts it.
"""

import json
import sys
from typing import Any

from executor.sandbox import kernel
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess, KeyPlace
from secretstore.keyring import generate_wrapped, wrapping


def main() -> int:
    """Read a request from stdin and print public and wrapped halves; the private half ends with this process."""
    kernel.harden()
    request = json.load(sys.stdin)
    try:
        place = KeyPlace(**request["place"])
        service = wrapping(KeyAccess.from_json(request["access"]))
        answer: dict[str, Any] = generate_wrapped(service, place, request["generation"]).to_json()
    except SealrunError as error:
        answer = {"error": error.code, "message": str(error), "hint": error.hint}
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
