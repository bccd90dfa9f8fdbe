"""One-shot: takes a sealed bundle, unwraps its key once, opens the values, hands them to the supervisor, exits.

The only importer of `secretstore.reveal`. Forked from the zygote; it has no database, no broker and no child.
"""

import os
import socket
import time
from datetime import UTC, datetime

from executor.supervisor import kernel
from executor.supervisor.wire import Kind, Receiver, WireBroken, encode, send
from secretstore.bundle import SealedBundle
from secretstore.errors import SecretStoreError
from secretstore.keyring import key_service
from secretstore.reveal import reveal


def open_bundle(worker: socket.socket, supervisor: socket.socket) -> int:
    """Serve one request and return the exit status.

    Args:
        worker: receives one BUNDLE frame; OPENED or NOT_OPENED goes back. End-of-file means the gate stayed shut.
        supervisor: receives one VALUE frame per secret, then VALUES_END.
    """
    kernel.harden()
    kernel.name_process("sealrun-opener")
    try:
        frame = Receiver(worker).receive()
    except WireBroken:
        return 1
    if frame is None or frame.kind is not Kind.BUNDLE:
        return 0
    request = frame.json()
    started = time.monotonic()
    try:
        bundle = SealedBundle.from_json(request["bundle"])
        frames = [_frame(item.name, value) for item, value in reveal(key_service(request["keys"]), bundle)]
        supervisor.sendall(b"".join(frames) + encode(Kind.VALUES_END))
    except SecretStoreError as error:
        send(worker, Kind.NOT_OPENED, {"error": type(error).__name__, "message": str(error), "hint": error.hint})
        return 1
    except OSError as error:
        send(
            worker,
            Kind.NOT_OPENED,
            {"error": "OSError", "message": f"handing over failed: {os.strerror(error.errno or 0)}"},
        )
        return 1
    except Exception as error:  # noqa: BLE001  # see below
        # Anything else may quote what it saw; only its kind leaves this process.
        send(worker, Kind.NOT_OPENED, {"error": type(error).__name__, "message": "the secrets could not be opened"})
        return 1
    at = datetime.now(UTC).isoformat()
    send(worker, Kind.OPENED, {"at": at, "count": len(frames), "seconds": time.monotonic() - started})
    return 0


def _frame(name: str, value: bytes) -> bytes:
    label = name.encode()
    return encode(Kind.VALUE, len(label).to_bytes(2, "big") + label + value)
