"""One-shot: a key pair is born here, wrapped, and forgotten. `executor.key_birth` starts one per environment."""

import json
import sys

from executor.supervisor import kernel
from secretstore.errors import SecretStoreError
from secretstore.keyring import generate_wrapped, key_service


def main() -> int:
    """Read one request from stdin, print the public and the wrapped half; the private half dies with this process."""
    kernel.harden()
    request = json.load(sys.stdin)
    try:
        pair = generate_wrapped(
            key_service(request["keys"]), request["project_id"], request["environment_id"], request["generation"]
        )
    except SecretStoreError as error:
        json.dump({"error": type(error).__name__, "message": str(error), "hint": error.hint}, sys.stdout)
        return 1
    json.dump(
        {
            "public_key": pair.public_key.hex(),
            "fingerprint": pair.fingerprint,
            "generation": pair.generation,
            "key_service": pair.key_service,
            "wrapped": pair.wrapped.hex(),
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
