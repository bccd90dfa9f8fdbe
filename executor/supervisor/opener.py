"""One-shot: takes a sealed bundle, unwraps its key once, opens the values, hands them to the supervisor, exits.

Or, for a rotation or a new name: opens values and seals each at once, to a key pair made here or for the name; only
ciphertext comes out. The only importer of `secretstore.reveal`. Forked from the zygote; it has no database, no broker
and no child.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from executor.boundary.plans import Signer, check_opening, check_resealing
from executor.boundary.wire import Kind, Receiver, WireBroken, encode, send
from executor.sandbox import kernel
from executor.supervisor.roles import MARK, assume_roles, to_values
from secretstore.bundle import SealedBundle, items_from_json
from secretstore.errors import SealrunError
from secretstore.key_service import KeyAccess, KeyPlace, WrappedKeyPair
from secretstore.keyring import wrapping
from secretstore.naming import check_secret_name
from secretstore.reveal import Renamer, Resealer, reveal
from secretstore.run_connection import RunConnection
from secretstore.unwrapping import unwrapping


def open_bundle(worker: socket.socket, supervisor: socket.socket, signers: Collection[Signer] = ()) -> int:
    """Serve one request and return the exit status.

    Args:
        worker: sends one BUNDLE frame, receives OPENED or NOT_OPENED. End-of-file means that the gate stayed shut.
            Besides `access` and `bundle` the frame may have `roles` (`plan`, `timeout`, `run`: see
            `roles.assume_roles`) and `withheld`, the secrets that are opened for those roles and not handed over;
            `plan` is what `plans.check_opening` holds it against.
        supervisor: receives one VALUE frame per secret and per assumed role (see `roles.from_values`), then VALUES_END.
        signers: where there are any, nothing is opened but for a plan that one of them has signed.
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
    opened = False
    try:
        bundle = SealedBundle.from_json(request["bundle"])
        if signers:
            check_opening(signers, bundle, request.get("plan") or {})
        with _while_wanted(supervisor):
            service = unwrapping(KeyAccess.from_json(request["access"]), bundle.key_service)
            values = {}
            for item, value in reveal(service, bundle):
                opened = True
                values[item.name] = value
            handed = _handed_over(values, request.get("roles"), request.get("withheld", []))
        frames = [_frame(name, value) for name, value in handed.items()]
        supervisor.sendall(b"".join(frames) + encode(Kind.VALUES_END))
    except _NotWanted:
        return _refuse(worker, "NotWanted", "the run was ended before its secrets were handed over")
    except SealrunError as error:
        return _refuse(worker, error.code, str(error), error.hint, unopened=not opened)
    except OSError as error:
        return _refuse(worker, "OSError", f"the values could not be handed over: {os.strerror(error.errno or 0)}")
    except Exception as error:  # noqa: BLE001  # it may quote a value; only its type leaves this process
        return _refuse(worker, type(error).__name__, "the secrets could not be opened")
    at = datetime.now(UTC).isoformat()
    send(worker, Kind.OPENED, {"at": at, "count": len(values), "seconds": time.monotonic() - started})
    return 0


class _NotWanted(BaseException):
    """The supervisor is gone, and with it the run; no handler of a library's takes this for an error of its own."""


@contextlib.contextmanager
def _while_wanted(supervisor: socket.socket) -> Iterator[None]:
    """Raise `_NotWanted` once the supervisor has closed its end, however long a key service or STS takes to answer."""
    gone = select.poll()
    gone.register(supervisor, select.POLLHUP)

    def look(*_: object) -> None:
        if gone.poll(0):
            raise _NotWanted

    signal.signal(signal.SIGIO, look)
    flags = fcntl.fcntl(supervisor, fcntl.F_GETFL)
    fcntl.fcntl(supervisor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(supervisor, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        look()
        yield
    finally:
        fcntl.fcntl(supervisor, fcntl.F_SETFL, flags)


def _handed_over(
    values: dict[str, bytes], roles: Mapping[str, Any] | None, withheld: Collection[str]
) -> dict[str, bytes]:
    """Return the values to hand over, with short-lived credentials instead of those that are withheld."""
    for name in values:
        if name.startswith(MARK):  # sealed by somebody who can write to the database, to look like an answer
            check_secret_name(name)
    handed = {name: value for name, value in values.items() if name not in withheld}
    if roles is not None:
        plan = [RunConnection.from_json(document) for document in roles["plan"]]
        handed |= to_values(assume_roles(plan, values, roles["timeout"], roles["run"]))
    return handed


def reseal(asker: socket.socket, signers: Collection[Signer] = ()) -> int:
    """Serve one rotation or renaming until the asker closes its end, and return the exit status.

    Args:
        asker: sends one ROTATE frame, answered with SUCCESSOR, or one RENAME frame, answered with OPENED; then RESEAL
            frames, each answered with RESEALED. NOT_OPENED instead says why it ends here. `plan` in the first frame is
            what `plans.check_resealing` holds it against.
        signers: where there are any, no key is unwrapped but for a plan that one of them has signed.
    """
    kernel.harden()
    kernel.name_process("sealrun-reseal")
    asked = Receiver(asker)
    sealing: Resealer | Renamer | None = None
    try:
        frame = asked.receive()
        if frame is None or frame.kind not in (Kind.ROTATE, Kind.RENAME):
            return 0
        request = frame.json()
        if signers:
            kind, place = frame.kind.name.lower(), KeyPlace(**request["place"])
            check_resealing(signers, kind, place, request.get("name"), request.get("plan") or {})
        if frame.kind is Kind.ROTATE:
            sealing = rotating = _resealer(request)
            said = {"pair": rotating.successor.to_json(), "voucher": rotating.voucher.hex()}
            send(asker, Kind.SUCCESSOR, said)
        else:
            sealing = _renamer(request)
            send(asker, Kind.OPENED)
        while (frame := asked.receive()) is not None and frame.kind is Kind.RESEAL:
            sealed = sealing.reseal(items_from_json(frame.json()))
            answer = [b64encode(one).decode() if one is not None else None for one in sealed]
            send(asker, Kind.RESEALED, {"sealed": answer})
    except (WireBroken, OSError):
        return 1
    except SealrunError as error:
        return _refuse(asker, error.code, str(error), error.hint, unopened=sealing is None)
    except Exception as error:  # noqa: BLE001  # see above
        return _refuse(asker, type(error).__name__, "the values could not be resealed")
    return 0


def _resealer(request: Mapping[str, Any]) -> Resealer:
    pair, access = WrappedKeyPair.from_json(request["pair"]), KeyAccess.from_json(request["access"])
    return Resealer(unwrapping(access, pair.key_service), wrapping(access), KeyPlace(**request["place"]), pair)


def _renamer(request: Mapping[str, Any]) -> Renamer:
    pair, access = WrappedKeyPair.from_json(request["pair"]), KeyAccess.from_json(request["access"])
    return Renamer(unwrapping(access, pair.key_service), KeyPlace(**request["place"]), pair, request["name"])


def _refuse(asker: socket.socket, kind: str, message: str, hint: str | None = None, *, unopened: bool = False) -> int:
    with contextlib.suppress(OSError):  # the asker may have left while the key service was asked
        said = {"error": kind, "message": message, "hint": hint, "unopened": unopened}
        send(asker, Kind.NOT_OPENED, said)
    return 1


def _frame(name: str, value: bytes) -> bytes:
    label = name.encode()
    return encode(Kind.VALUE, len(label).to_bytes(2, "big") + label + value)
