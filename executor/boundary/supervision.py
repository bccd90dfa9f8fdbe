"""The worker's end of the trust boundary: start the zygote, ask it for a supervisor and an opener, read what they say.

Nothing in here ever holds a value: ciphertext goes out, masked frames come in.
"""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executor.boundary.plans import Signer
from executor.boundary.wire import Kind, Receiver, WireBroken, read_all, readable, send
from executor.errors import ZygoteFailed
from secretstore.key_service import KeyAccess

_START_PATIENCE = 30.0
_CODE = (
    "import sys; sys.path[:0] = [sys.argv[2]]; "
    "from executor.supervisor.zygote import serve; sys.exit(serve(int(sys.argv[1])))"
)


@dataclass(frozen=True)
class Supervision:
    """Channels to one supervisor and its opener, and the pipe that tells the supervisor's end."""

    supervisor: socket.socket
    opener: socket.socket
    frames: Receiver
    answers: Receiver
    _status: int

    def hand_over(self, opening: dict[str, Any] | None, go: dict[str, Any]) -> None:
        """Ask the opener to open something, or tell it that there is nothing; and tell the supervisor to go.

        Whoever is gone meanwhile is found missing by who listens for them.
        """
        with contextlib.suppress(OSError):
            if opening is not None:
                send(self.opener, Kind.BUNDLE, opening)
            self.opener.shutdown(socket.SHUT_WR)
            send(self.supervisor, Kind.GO, go)

    def cut(self, patience: float) -> None:
        """Cut the lifeline and wait until the supervisor has ended what still ran."""
        self.supervisor.close()
        self.opener.close()
        self.reaped(patience)

    def reaped(self, patience: float) -> int | None:
        """Wait until the supervisor is gone for good; its wait status, None where that cannot be known."""
        if not readable(self._status, patience):
            return None
        text = read_all(self._status, 4096)
        return int(json.loads(text)["status"]) if text else None


@dataclass(frozen=True)
class Resealing:
    """The channel to a process that holds a private key, and the pipe that tells its end."""

    channel: socket.socket
    _status: int

    def end(self, patience: float) -> bool:
        """Let the process end, and wait until it has; False where that cannot be known."""
        self.channel.close()
        return readable(self._status, patience) and bool(read_all(self._status, 4096))


class Zygote:
    """The zygote process of this worker; started again should it die."""

    def __init__(self, access: KeyAccess | None = None, signers: Sequence[Signer] = ()) -> None:
        """Nothing is started yet.

        Args:
            access: what openers will need to have ready beside what every zygote has; its credentials are left out.
            signers: whose plans openers insist on, whatever a request says; without any they insist on none.
        """
        ready = access and replace(access, credentials=None)
        told = {"access": ready and ready.to_json(), "signers": [str(one) for one in signers]}
        self._ready = json.dumps(told).encode()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None when it was never started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and wait until it is ready. Called first from the worker's main thread, before its pool exists.

        Raises:
            ZygoteFailed: it ended before it was ready.
        """
        with self._lock:
            self._start()

    def stop(self) -> None:
        """Close its control channel: it waits for its supervisors, then ends."""
        with self._lock:
            if self._control is not None:
                self._control.close()
                self._control = None
            if self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(15)

    @contextlib.contextmanager
    def pair(self, parts: Sequence[str] = ()) -> Iterator[Supervision]:
        """A new supervisor with its opener. Leaving the context cuts the lifeline: what still runs is ended.

        Args:
            parts: of the box that runs of this worker have, so that it is made meanwhile; see `Host.box`.

        Raises:
            ZygoteFailed: it could not be reached, nor started again.
            OSError: there are no descriptors left, or too many of this user are on their way: it may be tried later.
        """
        with contextlib.ExitStack() as ending:
            ours, theirs = (ending.enter_context(end) for end in socket.socketpair())
            asking, answering = (ending.enter_context(end) for end in socket.socketpair())
            status, status_write = os.pipe2(os.O_CLOEXEC)
            ending.callback(os.close, status)
            try:
                self._request(" ".join(["pair", *parts]).encode(), [theirs.fileno(), answering.fileno(), status_write])
            finally:
                os.close(status_write)
                theirs.close()
                answering.close()
            yield Supervision(ours, asking, Receiver(ours), Receiver(asking), status)

    @contextlib.contextmanager
    def resealer(self) -> Iterator[Resealing]:
        """A process for one rotation or renaming, which ends with the context.

        Raises:
            ZygoteFailed: it could not be reached, nor started again.
        """
        with contextlib.ExitStack() as ending:
            ours, theirs = (ending.enter_context(end) for end in socket.socketpair())
            status, status_write = os.pipe2(os.O_CLOEXEC)
            ending.callback(os.close, status)
            try:
                self._request(b"reseal", [theirs.fileno(), status_write])
            except OSError as error:
                raise ZygoteFailed(why=os.strerror(error.errno or 0)) from None
            finally:
                os.close(status_write)
                theirs.close()
            yield Resealing(ours, status)

    def offered(self, access: KeyAccess) -> tuple[str, ...] | None:
        """Patterns of the key services of `access`, see `secretstore.keyring.offered`; None without an answer.

        A key file that cannot be read stands for any: an opening says what is wrong with it.
        """
        ours, theirs = socket.socketpair()
        try:
            with ours:
                with theirs:
                    self._request(b"marks", [theirs.fileno()])
                send(ours, Kind.KEYS, {"access": access.to_json(), "unread": "local:*"})
                answer = Receiver(ours).receive(_START_PATIENCE)
        except (OSError, WireBroken, ZygoteFailed):  # OSError includes a time-out
            return None
        return tuple(answer.json()) if answer is not None and answer.kind is Kind.OFFERED else None

    def _request(self, what: bytes, fds: list[int]) -> None:
        with self._lock:
            for last in (False, True):
                try:
                    # A dead one's channel may be open still, in a fork of its own that has yet to close it.
                    if self._control is None or self._process is None or self._process.poll() is not None:
                        self._start()
                    assert self._control is not None
                    socket.send_fds(self._control, [what], fds)
                    return
                except OSError as error:
                    if error.errno == errno.ETOOMANYREFS:
                        raise  # nobody is dead
                    self._control = None
                    if last:
                        raise ZygoteFailed(why=os.strerror(error.errno or 0)) from None

    def _start(self) -> None:
        if self._process is not None:  # its channel is broken, so it has ended, or is about to
            self._process.kill()
            self._process.wait()
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package_root = str(Path(__file__).resolve().parents[2])
        with theirs:
            # -I: neither the current folder nor a PYTHON* variable chooses what this process imports. Its environment
            # is empty, so no fork of it inherits the worker's credentials.
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CODE, str(theirs.fileno()), package_root],
                stdin=subprocess.DEVNULL,
                env={},
                pass_fds=[theirs.fileno()],
                close_fds=True,
            )
            control.send(self._ready)
        if not readable(control.fileno(), _START_PATIENCE) or not _is_ready(control):
            process.kill()
            process.wait()
            raise ZygoteFailed(why=f"exit status {process.returncode} before it was ready")
        self._process, self._control = process, control


def _is_ready(control: socket.socket) -> bool:
    try:
        return control.recv(16) == b"ready"
    except ConnectionResetError:
        return False
