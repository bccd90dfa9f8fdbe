"""The run's own process: forked and bound first, then handed its environment to exec."""

import contextlib
import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from executor.supervisor import kernel, sandbox
from executor.supervisor.errors import StartFailed

# Read once, in the zygote: a run costs no file access for it, and an upgrade of the files on disk cannot mix versions.
ENTRY = (Path(__file__).parent / "entry.py").read_bytes()
_COMPILED = marshal.dumps(compile(ENTRY, "<sealrun>", "exec"))
_TAG = sys.implementation.cache_tag
# The interpreter is told to read its program from descriptor 3: no file of ours has to be readable to the run. Where it
# is of our own version it takes the compiled form, which saves it two milliseconds.
_BOOTSTRAP = (
    "import os,sys,marshal;f=os.fdopen(3,'rb');t,a,b=f.readline().split();c,s=f.read(int(a)),f.read(int(b));"
    "exec(marshal.loads(c) if t.decode()==sys.implementation.cache_tag else compile(s,'<sealrun>','exec'),{'source':f})"
)
_MARSHAL_VERSION = 2  # the last one without references: every Python from 3.0 reads it

_PAYLOAD_FD, _RESULT_FD = 3, 4


@dataclass(frozen=True)
class Child:
    """A child: its process id, a descriptor that becomes readable when it ends, and its pipes."""

    pid: int
    pidfd: int
    stdout: int
    stderr: int
    result: int


class Waiting:
    """A process that is forked and bound, holds nothing, and starts its program when it is given its environment.

    Forked before a value arrives, it never had a copy of one; and the binding is done while the gate is being passed.
    """

    def __init__(self, child: Child, target: Mapping[str, Any], go: socket.socket, trouble: int) -> None:
        self._child = child
        self._target = target
        self._go = go
        self._trouble = trouble

    def start(self, entries: Mapping[bytes, bytes]) -> Child:
        """Hand over the environment and let it exec.

        Raises:
            StartFailed: the folder or the program is not there, or a binding was refused by the kernel.
        """
        payload = _payload(self._target, entries)
        with self._go, contextlib.suppress(BrokenPipeError):
            socket.send_fds(self._go, [b"!"], [payload])
        os.close(payload)
        with os.fdopen(self._trouble, "rb") as trouble:
            why = trouble.read(4096).decode(errors="replace")
        if why:
            os.waitpid(self._child.pid, 0)
            close(self._child)
            raise StartFailed(why=why)
        return self._child


def prepare(
    *, target: Mapping[str, Any], python: str, folder: str, view: sandbox.View, bare: Mapping[str, str]
) -> Waiting:
    """Fork the run's own process and bind it; its program does not start before `Waiting.start`.

    A Python target is started with `bare` alone and receives its environment over a descriptor, so that
    `/proc/PID/environ` of its interpreter holds no secret; a command is given all of it by exec, as it has to be.

    Args:
        target: `{"kind": "file" | "module" | "function" | "command", …}`, see `entry`.
        python: the run's interpreter.
        folder: the working directory.
        view: what it may reach.
        bare: environment without secrets.
    """
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(4)]
    (out_read, out_write), (err_read, err_write), (result_read, result_write), (trouble_read, trouble_write) = pipes
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    go, waiting = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(
            lambda: sandbox.enter(view, parent, signal.SIGKILL),
            target=target,
            arguments=_arguments(target, python),
            bare={name.encode(): value.encode() for name, value in bare.items()},
            folder=folder,
            streams=(null, out_write, err_write, waiting.fileno(), result_write),
            trouble=trouble_write,
        )
    waiting.close()
    for fd in (null, out_write, err_write, result_write, trouble_write):
        os.close(fd)
    return Waiting(Child(pid, os.pidfd_open(pid), out_read, err_read, result_read), target, go, trouble_read)


def _arguments(target: Mapping[str, Any], python: str) -> list[str]:
    if target["kind"] == "command":
        return list(target["argv"])
    shown = target.get("path") or target.get("module") or ""
    return [python, "-c", _BOOTSTRAP, shown, *target.get("argv", ())]


def _payload(target: Mapping[str, Any], entries: Mapping[bytes, bytes]) -> int:
    """The environment, and for Python entry program and target, in memory that has no name in any file system."""
    fd = os.memfd_create("sealrun", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as memory:
        # marshal, because it is built in: a run does not pay for importing json.
        if target["kind"] == "command":
            memory.write(marshal.dumps(dict(entries), _MARSHAL_VERSION))
        else:
            document = marshal.dumps({"target": dict(target), "environment": dict(entries)}, _MARSHAL_VERSION)
            memory.write(b"%s %d %d\n" % (_TAG.encode(), len(_COMPILED), len(ENTRY)) + _COMPILED + ENTRY + document)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _become(
    bind: Callable[[], None],
    *,
    target: Mapping[str, Any],
    arguments: list[str],
    bare: dict[bytes, bytes],
    folder: str,
    streams: tuple[int, ...],
    trouble: int,
) -> NoReturn:
    """In the forked process: never returns, and reports why through `trouble`, without quoting the environment."""
    step = "prepare the process"
    try:
        os.setsid()
        os.umask(0o022)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Two steps, so that no descriptor is overwritten before it was copied.
        high = [os.dup2(fd, 200 + position, inheritable=True) for position, fd in enumerate(streams)]
        trouble = os.dup2(trouble, 220, inheritable=False)
        for position, fd in enumerate(high):
            os.dup2(fd, position, inheritable=True)
        kernel.close_descriptors([_PAYLOAD_FD, _RESULT_FD, trouble])
        step = "enter its sandbox"
        bind()
        step = f"enter the folder {folder}"
        os.chdir(folder)
        payload = _wait(socket.socket(fileno=_PAYLOAD_FD))
        environment = bare
        if target["kind"] == "command":
            with os.fdopen(payload, "rb") as memory:
                environment = marshal.load(memory)
            os.close(_RESULT_FD)
        else:
            os.dup2(payload, _PAYLOAD_FD, inheritable=True)
        step = f"start {arguments[0]}"
        if "/" in arguments[0]:
            os.execve(arguments[0], arguments, environment)
        else:
            os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        _report(trouble, f"could not {step}: {error.strerror}")
    except BaseException as error:  # noqa: BLE001  # ends in _exit
        # Whatever else goes wrong in here, its text might quote what this process holds: only its kind leaves.
        _report(trouble, f"could not {step}: {type(error).__name__}")
    os._exit(127)


def _wait(go: socket.socket) -> int:
    """The descriptor of the payload; without one the gate stayed shut, and the process ends."""
    with go:
        _, fds, _, _ = socket.recv_fds(go, 1, 1)
    if not fds:
        os._exit(0)
    return fds[0]


def _report(trouble: int, text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(trouble, text.encode()[:4096])


def close(child: Child) -> None:
    """Close what is left of a child's descriptors."""
    for fd in (child.pidfd, child.stdout, child.stderr, child.result):
        with contextlib.suppress(OSError):
            os.close(fd)


def adopt(fd: int) -> socket.socket:
    """A socket from a descriptor that was handed over; it will not survive an exec."""
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
