"""One-shot: tells which key services a worker has, by name; the worker itself never reads a key file."""

import socket

from executor.boundary.wire import Kind, Receiver, WireBroken, send
from executor.sandbox import kernel
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess
from secretstore.keyring import offered


def tell_offered(asker: socket.socket) -> int:
    """Serve one request and return the exit status.

    Args:
        asker: sends one KEYS frame, `access` and `unread`: see `secretstore.keyring.offered`. Receives OFFERED.
    """
    kernel.harden()
    kernel.name_process("sealrun-marks")
    try:
        frame = Receiver(asker).receive()
        if frame is None or frame.kind is not Kind.KEYS:
            return 0
        request = frame.json()
        send(asker, Kind.OFFERED, list(offered(KeyAccess.from_json(request["access"]), request["unread"])))
    except (WireBroken, OSError, SealrunError):
        return 1
    return 0
