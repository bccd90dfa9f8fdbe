"""Which unix sockets a run may connect to: its own, by name in its own folders or among its own processes.

The judge is outside the run's Landlock rules, so it refuses here what those would.
"""

import contextlib
import ctypes
import errno
import os
import re
import stat
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from executor.sandbox import tree

_libc = ctypes.CDLL(None, use_errno=True)
_OPENAT2 = 437
_NO_MAGIC_LINKS, _NO_LINKS, _BENEATH = 0x02, 0x04, 0x08
_LONGEST = 110  # bytes of struct sockaddr_un
_LISTENS = 0x10000
_DESCRIPTORS_LIMIT = 20_000
_SOCKET = re.compile(rb"[0-9A-Fa-f]+: \S+ \S+ ([0-9A-Fa-f]+) \S+ \S+ +(\d+) (.*)", re.DOTALL)


@dataclass(frozen=True)
class Folder:
    """One of the run's own folders: its names, and a descriptor that means it whatever happens to them."""

    names: tuple[bytes, ...]
    fd: int


def own_folders(paths: Sequence[str]) -> list[Folder]:
    """Hold each of these folders; one that is not there is none."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            names = dict.fromkeys((os.fsencode(path), os.fsencode(os.path.realpath(path))))
            found.append(Folder(tuple(name.rstrip(b"/") + b"/" for name in names), fd))
    return found


def connect(descriptor: int, address: bytes, folders: Sequence[Folder], thread: int) -> int:
    """Connect a unix socket, if the address is one of the run's own; return an error number, 0 for success.

    Args:
        descriptor: the run's own socket.
        address: a struct sockaddr_un, as the run gave it.
        folders: those in which its sockets may lie.
        thread: who asks, for a name relative to its folder.
    """
    name = address[2:]
    if not name or len(address) > _LONGEST or address[:2] != struct.pack("=H", 1):
        return errno.EINVAL
    if name[0]:
        return _to_file(descriptor, name.split(b"\0")[0], folders, thread)
    # What was looked at could be closed and its name taken by somebody else before it is connected to: look again.
    if not (before := _own_listeners(name[1:])):
        return errno.EPERM
    error = call_connect(descriptor, address)
    if error == 0 and not before & _own_listeners(name[1:]):
        _libc.shutdown(descriptor, 2)
        return errno.EPERM
    return error


def call_connect(descriptor: int, address: bytes) -> int:
    """Call connect(2) with an address as it is; return its error number, 0 for success."""
    return 0 if _libc.connect(descriptor, address, len(address)) == 0 else ctypes.get_errno()


def _to_file(descriptor: int, path: bytes, folders: Sequence[Folder], thread: int) -> int:
    if not path.startswith(b"/"):
        path = os.readlink(b"/proc/%d/cwd" % thread) + b"/" + path
    for folder in folders:
        for name in folder.names:
            if path.startswith(name):
                return _beneath(descriptor, folder.fd, path[len(name) :])
    return errno.EACCES


def _beneath(descriptor: int, folder: int, path: bytes) -> int:
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _BENEATH | _NO_LINKS | _NO_MAGIC_LINKS)
    held = _libc.syscall(_OPENAT2, folder, path, how, len(how))
    if held < 0:
        error = ctypes.get_errno()
        return error if error in (errno.ENOENT, errno.ENOTDIR) else errno.EACCES
    try:
        if not stat.S_ISSOCK(os.fstat(held).st_mode):
            return errno.ECONNREFUSED
        return call_connect(descriptor, struct.pack("=H", 1) + b"/proc/self/fd/%d\0" % held)
    finally:
        os.close(held)


def _own_listeners(name: bytes) -> set[int]:
    """Return the sockets that listen under an abstract name, if all of them belong to the run.

    The kernel's list shows a zero in a name as `@`, and a line's end as it is: a run could write a line of its own into
    it. But the true line of a socket that somebody else has is there as well, and one other owner refuses all.
    """
    if b"\n" in name:
        return set()
    shown = b"@" + name.replace(b"\0", b"@")
    with open("/proc/self/net/unix", "rb") as listing:
        lines = listing.read().split(b"\n")
    found = [match for line in lines if (match := _SOCKET.fullmatch(line)) and match[3] == shown]
    listening = {int(match[2]) for match in found if int(match[1], 16) & _LISTENS}
    return listening if listening and _held(listening) else set()


def _held(sockets: Collection[int]) -> bool:
    """Tell whether processes of the run, all of which are below this one, hold all of these sockets."""
    missing = {b"socket:[%d]" % number for number in sockets}
    looks = _DESCRIPTORS_LIMIT
    for pid in tree.descendants():
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(b"/proc/%d/fd" % pid):
                with contextlib.suppress(OSError):
                    missing.discard(os.readlink(b"/proc/%d/fd/%s" % (pid, descriptor)))
                looks -= 1
                if not missing or not looks:
                    return not missing
    return not missing
