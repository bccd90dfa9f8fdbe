"""Start the one-shot hardened process in which a key pair is born, and take what it may tell."""

import json
import subprocess
import sys
from pathlib import Path

from executor.errors import KeyPairNotBorn
from executor.settings import Settings
from secretstore.keyring import WrappedKeyPair
from secretstore.vault import Birth

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from executor.supervisor.birth import main; sys.exit(main())"
_PATIENCE = 60.0


def birth(settings: Settings) -> Birth:
    """A function that gives birth to key pairs under these settings' key service."""

    def new_key_pair(project_id: str, environment_id: str, generation: int) -> WrappedKeyPair:
        request = {
            "keys": settings.store.keys,
            "project_id": project_id,
            "environment_id": environment_id,
            "generation": generation,
        }
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-c", _CODE, str(Path(__file__).resolve().parent.parent)],
                input=json.dumps(request),
                text=True,
                capture_output=True,
                env={},
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KeyPairNotBorn(why=f"its process did not end within {_PATIENCE:g} seconds") from None
        try:
            answer = json.loads(ended.stdout)
        except ValueError:
            raise KeyPairNotBorn(why=f"its process ended with status {ended.returncode}") from None
        if "error" in answer:
            failure = KeyPairNotBorn(why=answer["message"])
            failure.hint = answer["hint"]
            raise failure
        return WrappedKeyPair(
            public_key=bytes.fromhex(answer["public_key"]),
            fingerprint=answer["fingerprint"],
            generation=answer["generation"],
            key_service=answer["key_service"],
            wrapped=bytes.fromhex(answer["wrapped"]),
        )

    return new_key_pair
