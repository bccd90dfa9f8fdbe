"""A small, clean, single-threaded process without secrets that forks openers and supervisors.

A fork of it costs a millisecond where a fork of the worker would cost ten and copy what the worker holds. It is
started by the worker with an empty environment, in a session of its own (a Ctrl-C in the worker's terminal is not for
it), and it is a subreaper: what a dead supervisor leaves behind becomes its child, and is killed.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from executor.masking.masker import Masker
from executor.sandbox import kernel, tree
from executor.sandbox.fork import fork
from executor.supervisor.child import adopt
from executor.supervisor.opener import open_bundle, reseal
from executor.supervisor.process import supervise
from executor.supervisor.template import Template
from secretstore import sealing
from secretstore.key_service import KeyAccess

_ACCESS_LIMIT = 1 << 16  # bytes
_FAREWELL = 10.0  # seconds supervisors have to end their runs once the worker is gone


@dataclass(frozen=True)
class _Ward:
    """A supervisor, opener or template of ours, and where its wait status goes."""

    kind: str
    status: int | None


def serve(control_fd: int) -> int:
    """Fork on request until the worker is gone.

    The first datagram says what openers need ready beside what is here: nothing where it is blank, else it is the
    access to AWS KMS as JSON, without credentials. Each further one is a request. `pair` comes with three descriptors:
    the supervisor's channel, the opener's channel, and a pipe that receives the supervisor's wait status as JSON when
    it has been reaped. `reseal` comes with one.
    """
    os.setsid()
    os.chdir("/")
    kernel.harden()
    kernel.become_subreaper()
    kernel.name_process("sealrun-zygote")
    if not kernel.own_session_keyring():
        raise SystemExit("sealrun: this user's quota of keys is used up, see /proc/key-users")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = adopt(control_fd)
    wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _warm_up()
    gc.freeze()  # keeps the collector from touching, and so copying, pages every fork shares
    wards: dict[int, _Ward] = {}
    template = _template(control.recv(_ACCESS_LIMIT), wards)
    with contextlib.suppress(BrokenPipeError):  # who started it is gone already, which is seen below
        control.send(b"ready")
    poll = select.poll()  # a large worker's descriptors, and so ours, may lie beyond select's reach
    for fd in (control.fileno(), wake):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(wards)
        if control.fileno() in ready:
            try:
                data, fds, _, _ = socket.recv_fds(control, 64, 3)
            except ConnectionResetError:
                return _leave(wards, template)
            if not data:
                return _leave(wards, template)
            # Where nothing can be forked, the channels close, and the worker sees that no supervisor came up.
            with contextlib.suppress(OSError):
                if data == b"reseal":
                    _fork_resealer(fds, wards)
                else:
                    _fork_pair(fds, wards, template)


def _warm_up() -> None:
    """Use once, on a key made up here, what every fork will use: what is loaded at first use is then shared."""
    key = sealing.generate_private_key()
    binding = sealing.Binding("", "", "", "", 1)
    sealing.open_(key, sealing.seal(key.public_key(), 1, b"nothing", binding), binding)
    AESGCM(bytes(32)).encrypt(bytes(12), b"nothing", None)
    Masker.build({"nothing": b"nothing to hide"}).stream().feed(b"nothing")
    json.loads(json.dumps({"at": datetime.now(UTC).isoformat()}))


def _template(access: bytes, wards: dict[int, _Ward]) -> Template | None:
    """The process that openers are forked from, where they need more than the zygote has."""
    if not access.strip():
        return None
    template = Template(KeyAccess.from_json(json.loads(access)), open_bundle)
    wards[template.start()] = _Ward("template", None)
    return template


def _fork_opener(fds: tuple[int, int], wards: dict[int, _Ward], template: Template | None) -> int:
    first, second = fds
    if template is None:
        return fork(lambda: open_bundle(adopt(first), adopt(second)), set(fds))
    try:
        return template.opener(first, second)
    except OSError:  # it was killed, or hangs
        template.kill()
        wards[template.start()] = _Ward("template", None)
        return template.opener(first, second)


def _fork_pair(fds: list[int], wards: dict[int, _Ward], template: Template | None) -> None:
    with contextlib.ExitStack() as ending:
        for fd in fds:
            ending.callback(os.close, fd)
        if len(fds) != 3:
            return  # no room for them in this process
        channel, opener_channel, status = fds
        values_in, values_out = (ending.enter_context(end) for end in socket.socketpair())
        supervisor = fork(lambda: supervise(adopt(channel), values_in), {channel, values_in.fileno()})
        wards[supervisor] = _Ward("supervisor", os.dup(status))
        try:
            opener = _fork_opener((opener_channel, values_out.fileno()), wards, template)
        except OSError:
            os.kill(supervisor, signal.SIGKILL)
            raise
        wards[opener] = _Ward("opener", None)


def _fork_resealer(fds: list[int], wards: dict[int, _Ward]) -> None:
    """For a rotation. It loads what AWS KMS needs by itself: there is one of them now and then."""
    with contextlib.ExitStack() as ending:
        for fd in fds:
            ending.callback(os.close, fd)
        if len(fds) == 1:
            wards[fork(lambda: reseal(adopt(fds[0])), {fds[0]})] = _Ward("resealer", None)


def _reap(wards: dict[int, _Ward]) -> None:
    """Collect the dead; whatever child is not ours by birth is the remains of a dead supervisor's run."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        ward = wards.pop(pid, None)
        if ward is not None and ward.status is not None:
            if status:
                tree.end_tree(spare=wards)
            with contextlib.suppress(OSError):
                os.write(ward.status, json.dumps({"status": status, "at": time.time()}).encode())
            os.close(ward.status)
    if set(tree.children(os.getpid())) - set(wards):
        tree.end_tree(spare=wards)


def _leave(wards: dict[int, _Ward], template: Template | None) -> int:
    """The worker is gone: its supervisors have seen that too and end their runs; what is slow is helped."""
    if template is not None:
        template.stop()
    deadline = time.monotonic() + _FAREWELL
    while wards and time.monotonic() < deadline:
        _reap(wards)
        if wards:
            time.sleep(0.01)
    tree.end_tree()
    return 0


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1])))
