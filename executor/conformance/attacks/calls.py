"""Calls of the kernel that a job has no use for, and through which it was got out of before."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import termios
from typing import Any

from .kit import attack, call, first

Plan = dict[str, Any]
Got = tuple  # of a verdict and how
NEWUSER, NEWNS = 0x10000000, 0x20000
REMOUNT, BIND, REC, PRIVATE, DETACH, CREATE = 0x20, 0x1000, 0x4000, 0x40000, 2, 6
USER_KEYRING, SESSION_KEYRING, LINK, READ_KEY, SEARCH, GET_SESSION = -4, -3, 8, 11, 10, 0


@attack("io-uring")
def io_uring(plan: Plan) -> Got:
    return first({"set up": lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(120))})


@attack("bpf")
def bpf(plan: Plan) -> Got:
    attributes = ctypes.create_string_buffer(128)
    ctypes.memmove(attributes, b"\2\0\0\0\4\0\0\0\4\0\0\0\1\0\0\0", 16)  # an array with one entry
    return first({"made a map": lambda: call("bpf", 0, attributes, 128)})


@attack("perf")
def perf(plan: Plan) -> Got:
    event = ctypes.create_string_buffer(112)
    # Software, the size of this structure, the task's clock, and without the kernel's part of it.
    ctypes.memmove(event, b"\1\0\0\0\x70\0\0\0\1\0\0\0\0\0\0\0", 16)
    ctypes.memmove(ctypes.addressof(event) + 40, b"\x60", 1)
    return first({"opened": lambda: call("perf_event_open", event, 0, -1, -1, 0)})


@attack("userfaultfd")
def userfaultfd(plan: Plan) -> Got:
    return first({"opened": lambda: call("userfaultfd", 1), "with the kernel's faults": lambda: call("userfaultfd", 0)})


@attack("keyring")
def keyring(plan: Plan) -> Got:
    """The worker's user has a key in its keyring, as Kerberos and ecryptfs leave them."""
    kind, name = b"user", f"sealrun-canary-{plan['token']}".encode()

    def read() -> bool:
        call("keyctl", LINK, USER_KEYRING, SESSION_KEYRING)
        found = call("keyctl", SEARCH, USER_KEYRING, kind, name, 0)
        buffer = ctypes.create_string_buffer(256)
        call("keyctl", READ_KEY, found, buffer, 256)
        return plan["token"].encode() in buffer.raw

    def by_number() -> bool:
        buffer = ctypes.create_string_buffer(256)
        return call("keyctl", READ_KEY, plan["key"], buffer, 256) > 0 and plan["token"].encode() in buffer.raw

    if not plan["key"]:
        return None, "the worker's user may keep no keys here"
    return first({"read its user's key": read, "read it by its number": by_number})


@attack("keys-kept")
def keys_kept(plan: Plan) -> Got:
    """A key that a run leaves in its user's keyring is there for the next run."""
    key = (b"user", f"sealrun-left-{plan['token']}".encode(), b"left", 4, USER_KEYRING)

    def left() -> int:
        found = call("add_key", *key)
        call("keyctl", 9, found, USER_KEYRING)  # and taken away again
        return found

    return first({"added": left})


@attack("user-namespace")
def user_namespace(plan: Plan) -> Got:
    """In one of its own a run is root over parts of the kernel that are made for root."""
    return first({"unshare": lambda: call("unshare", NEWUSER), "clone3": lambda: cloned(NEWUSER)})


def cloned(flags: int) -> int:
    arguments = ctypes.create_string_buffer(flags.to_bytes(8, "little") + bytes(24) + (17).to_bytes(8, "little"), 64)
    pid = call("clone3", arguments, 64)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def apart() -> None:
    """Get into mounts of one's own, which an ordinary user has in a user namespace; what is mounted there stays there.

    Raises:
        OSError: neither is to be had.
    """
    try:
        call("unshare", NEWNS)
    except OSError:
        uid, gid = os.getuid(), os.getgid()
        call("unshare", NEWUSER | NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    with contextlib.suppress(OSError):
        call("mount", b"none", b"/", None, REC | PRIVATE, None)


@attack("mount")
def mount(plan: Plan) -> Got:
    own = os.environ["TMPDIR"].encode()
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError):
        apart()

    def mounted(source: bytes, kind: bytes | None, flags: int) -> None:
        call("mount", source, own, kind, flags, None)
        libc.umount2(own, DETACH)  # where it could not be had apart

    def detached() -> None:
        context = call("fsopen", b"tmpfs", 0)
        call("fsconfig", context, CREATE, None, None, 0)
        call("fsmount", context, 0, 0)

    ways: dict[str, Any] = {
        "mount": lambda: mounted(b"none", b"tmpfs", 0),
        "one without a place": detached,
        "a bind": lambda: mounted(own, None, BIND),
        "made writable": lambda: call("mount", None, b"/usr", None, REMOUNT | BIND, None),
        "unmount": lambda: libc.umount2(b"/proc", DETACH) == 0,
    }
    return first(ways)


@attack("pivot-root")
def pivot_root(plan: Plan) -> Got:
    with contextlib.suppress(OSError):
        apart()
    return first({"pivot_root": lambda: call("pivot_root", b".", b"."), "chroot": lambda: os.chroot(".")})


@attack("setns")
def setns(plan: Plan) -> Got:
    def entered(pid: int, kind: str) -> int:
        return call("setns", os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0)

    kinds = ("user", "mnt", "net", "pid")
    return first(
        {f"{kind} of {pid}": lambda k=kind, p=pid: entered(p, k) for kind in kinds for pid in (1, plan["pid"])}
    )


@attack("kernel-code")
def kernel_code(plan: Plan) -> Got:
    """With nothing to load: who may not is told so first."""

    def allowed(name: str, *arguments: Any) -> bool:
        try:
            call(name, *arguments)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
                raise
        return True

    return first(
        {
            "init_module": lambda: allowed("init_module", b"", 0, b""),
            "kexec_load": lambda: allowed("kexec_load", 0, 99, None, 0),
        }
    )


@attack("kernel-log")
def kernel_log(plan: Plan) -> Got:
    buffer = ctypes.create_string_buffer(4096)
    return first({"read": lambda: call("syslog", 3, buffer, 4096)})


@attack("raw-sockets")
def raw_sockets(plan: Plan) -> Got:
    kinds = {
        "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "packet": (17, socket.SOCK_RAW, 0x0300),
        "packet, cooked": (17, socket.SOCK_DGRAM, 0x0300),
    }
    return first({name: lambda kind=kind: socket.socket(*kind).close() for name, kind in kinds.items()})


@attack("vsock")
def vsock(plan: Plan) -> Got:
    """The way to the hypervisor, or to the other machines of it."""
    return first({"opened": lambda: socket.socket(40, socket.SOCK_STREAM).close()})


@attack("terminal")
def terminal(plan: Plan) -> Got:
    """A character put into the terminal that the worker was started from is typed there."""

    def typed(path: str) -> None:
        handle = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.ioctl(handle, termios.TIOCSTI, b"\0")
        finally:
            os.close(handle)

    return first({"/dev/tty": lambda: typed("/dev/tty"), "/dev/console": lambda: typed("/dev/console")})
