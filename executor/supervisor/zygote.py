"""A small, clean, single-threaded process without secrets that forks openers and supervisors.

Forking it takes a millisecond; forking the worker would take ten and copy what the worker holds. The worker starts it
with an empty environment, in its own session (so that a Ctrl-C does not reach it). It is a subreaper: what a dead
supervisor leaves becomes its child, and is killed.
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
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from executor.boundary.plans import Signer
from executor.masking.masker import Masker
from executor.sandbox import filter, kernel, passing, tree
from executor.sandbox.fork import fork
from executor.supervisor.child import adopt
from executor.supervisor.key_marks import tell_offered
from executor.supervisor.opener import open_bundle, reseal
from executor.supervisor.process import supervise
from executor.supervisor.template import Template, Work
from executor.supervisor.usage import kill_counter
from secretstore import sealing
from secretstore.key_service import KeyAccess

_READY_LIMIT, _REQUEST_LIMIT = 1 << 16, 1 << 10  # bytes
_FAREWELL = 10.0  # seconds for supervisors to end their runs once the worker is gone


# Children by process id, each with the pipe for its wait status if somebody waits for that.
_Children = dict[int, int | None]


def serve(control_fd: int) -> int:
    """Fork on request until the worker is gone.

    The first datagram says what openers have before any request: the `access` to AWS KMS, without credentials, where
    they need it, and the `signers` whose plans they insist on. Each further one is a request. `pair` comes with three
    descriptors: the supervisor's channel, the opener's channel, and a pipe that receives the supervisor's wait status
    as JSON; words after it are the parts of a box. `marks` comes with one, `reseal` with such a pipe, too.
    """
    os.setsid()
    os.chdir("/")
    kernel.harden()
    kernel.become_subreaper()
    kernel.name_process("sealrun-zygote")
    if not kernel.own_session_keyring():
        raise SystemExit("sealrun: this user's kernel key quota is used up, see /proc/key-users")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = adopt(control_fd)
    wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _warm_up()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that forks share
    children: _Children = {}
    told = json.loads(control.recv(_READY_LIMIT))
    signers = tuple(map(Signer.parse, told["signers"]))
    serve_one, reseal_one = partial(open_bundle, signers=signers), partial(reseal, signers=signers)
    template = _template(told["access"], serve_one, children)
    with contextlib.suppress(BrokenPipeError):  # the worker is gone already; the loop notices
        control.send(b"ready")
    poll = select.poll()  # select cannot take the high descriptors that a large worker passes
    for fd in (control.fileno(), wake):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(children)
        if control.fileno() in ready:
            try:
                data, fds, _, _ = socket.recv_fds(control, _REQUEST_LIMIT, 3)
            except ConnectionResetError:
                return _leave(children, template)
            if not data:
                return _leave(children, template)
            # If a fork fails, the channels close, and the worker sees that there is no supervisor.
            with contextlib.suppress(OSError):
                if data == b"reseal":  # these are rare, so it loads what AWS KMS needs by itself
                    _fork_one_shot(reseal_one, fds, children)
                elif data == b"marks":
                    _fork_one_shot(tell_offered, fds, children)
                else:
                    _fork_pair(fds, data.decode().split()[1:], children, template or serve_one)


def _warm_up() -> None:
    """Use once what every fork will use, so that forks share what is loaded at first use."""
    key = sealing.generate_private_key()
    binding = sealing.Binding("", "", "", "", 1)
    sealing.open_(key, sealing.seal(key.public_key(), 1, b"nothing", binding), binding)
    AESGCM(bytes(32)).encrypt(bytes(12), b"nothing", None)
    Masker.build({"nothing": b"nothing to hide"}).stream().feed(b"nothing")
    for rung in ("landlock", "namespace"):
        for network in ("full", "none"):
            filter.program(rung, network)
    kill_counter()
    json.loads(json.dumps({"at": datetime.now(UTC).isoformat()}))


def _template(access: dict[str, Any] | None, serve_one: Work, children: _Children) -> Template | None:
    """Start the process that openers are forked from, if they need more than the zygote has."""
    if access is None:
        return None
    template = Template(KeyAccess.from_json(access), serve_one)
    children[template.start()] = None
    return template


def _fork_opener(fds: tuple[int, int], children: _Children, template: Template | Work) -> int:
    first, second = fds
    if not isinstance(template, Template):
        serve_one = template
        return fork(lambda: serve_one(adopt(first), adopt(second)), set(fds))
    try:
        return template.opener(first, second)
    except OSError as problem:
        if passing.too_many(problem):
            raise
        # It was killed, or hangs.
        template.kill()
        children[template.start()] = None
        return template.opener(first, second)


def _fork_pair(fds: list[int], parts: list[str], children: _Children, template: Template | Work) -> None:
    with contextlib.ExitStack() as ending:
        for fd in fds:
            ending.callback(os.close, fd)
        if len(fds) != 3:
            return  # this process had no room for all of them
        channel, opener_channel, status = fds
        values_in, values_out = (ending.enter_context(end) for end in socket.socketpair())
        supervisor = fork(lambda: supervise(adopt(channel), values_in, parts), {channel, values_in.fileno()})
        children[supervisor] = os.dup(status)
        try:
            opener = _fork_opener((opener_channel, values_out.fileno()), children, template)
        except OSError:
            os.kill(supervisor, signal.SIGKILL)
            raise
        children[opener] = None


def _fork_one_shot(serve_one: Callable[[socket.socket], int], fds: list[int], children: _Children) -> None:
    with contextlib.ExitStack() as ending:
        for fd in fds:
            ending.callback(os.close, fd)
        if fds:  # else this process had no room for it
            one = fork(lambda: serve_one(adopt(fds[0])), {fds[0]})
            children[one] = os.dup(fds[1]) if len(fds) > 1 else None


def _reap(children: _Children) -> None:
    """Collect the dead; a child that we did not fork is left from a dead supervisor's run, and is killed."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        waiting = children.pop(pid, None)
        if waiting is not None:
            # A supervisor that failed has left its run's tree to us: end it before the worker hears of this.
            if status:
                tree.end_tree(spare=children)
            with contextlib.suppress(OSError):
                os.write(waiting, json.dumps({"status": status, "at": time.time()}).encode())
            os.close(waiting)
    if set(tree.children(os.getpid())) - set(children):
        tree.end_tree(spare=children)


def _leave(children: _Children, template: Template | None) -> int:
    """The worker is gone: wait until its supervisors have ended their runs, then kill what is left."""
    if template is not None:
        template.stop()
    deadline = time.monotonic() + _FAREWELL
    while children and time.monotonic() < deadline:
        _reap(children)
        if children:
            time.sleep(0.01)
    tree.end_tree()
    return 0


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1])))
