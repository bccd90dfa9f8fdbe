"""Mounts by descriptor: what was looked at is what is mounted, whatever is put in its place meanwhile.

Sources: open_tree(2), move_mount(2), mount_setattr(2), openat2(2), pivot_root(2). The numbers of the newer calls are
the same on every architecture.
"""

import ctypes
import errno
import os
import platform
import stat
import struct

from executor.sandbox import kernel

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
"""Attributes of a mount."""

_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_EMPTY_PATH, _MOVE_TO_EMPTY_PATH = 0x04, 0x40
_NO_MAGIC_LINKS, _NO_LINKS, _IN_ROOT = 0x02, 0x04, 0x10
_PATH = os.O_PATH | os.O_CLOEXEC
_TRIES = 20
_LINKS = 40  # on the way, as the kernel has it

_libc = ctypes.CDLL(None, use_errno=True)


def opened(root: int, path: str, *, straight: bool = True) -> int:
    """A descriptor of a path as it leads below a root; it can be mounted, and not be read from.

    Args:
        root: descriptor of the folder that `/` stands for.
        path: from there.
        straight: no link may be on the way, or at its end.

    Raises:
        OSError: it is not there, or a link is.
    """
    how = _IN_ROOT | _NO_MAGIC_LINKS | (_NO_LINKS if straight else 0)
    arguments = struct.pack("=QQQ", _PATH, 0, how)
    name = path.lstrip("/") or "."
    for _ in range(_TRIES):
        handle = int(_libc.syscall(_OPENAT2, root, os.fsencode(name), arguments, len(arguments)))
        # Something was mounted or renamed just as it went through a `..`, anywhere on the machine.
        if handle >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    if handle < 0 and ctypes.get_errno() in (errno.ENOSYS, errno.EAGAIN):
        # The former as systemd has it say with RestrictSUIDSGID=.
        return _walked(root, path, straight=straight)
    return kernel.checked(handle, path)


def _walked(root: int, path: str, *, straight: bool) -> int:
    """The same, a part of the path after the other."""
    left, above = path.split("/")[::-1], [os.dup(root)]
    links = 0
    try:
        while left:
            part = left.pop()
            if part == "..":
                for handle in above[1:][-1:]:
                    os.close(handle)
                    above.pop()
            elif part not in ("", "."):
                above.append(os.open(part, _PATH | os.O_NOFOLLOW, dir_fd=above[-1]))
                if stat.S_ISLNK(os.fstat(above[-1]).st_mode):
                    links += 1
                    if straight or links > _LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    target = os.readlink("", dir_fd=above[-1])
                    os.close(above.pop())
                    if target.startswith("/"):
                        for handle in above[1:]:
                            os.close(handle)
                        del above[1:]
                    left += target.split("/")[::-1]
        return above.pop()
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        for handle in above:
            os.close(handle)


def copied(handle: int) -> int:
    """A copy of the mounts at and below a descriptor, attached nowhere yet.

    Always with those below: the kernel refuses to copy a mount of another user namespace without what hides parts of
    it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    return kernel.checked(_libc.syscall(_OPEN_TREE, handle, b"", flags))


def restrict(handle: int, attributes: int, *, below: bool = True) -> None:
    """Add attributes to a mount, and to those below; none is taken away."""
    arguments = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if below else 0)
    kernel.checked(_libc.syscall(_MOUNT_SETATTR, handle, b"", flags, arguments, len(arguments)))


def attach(mount: int, target: int) -> None:
    """Attach a copied mount over what a descriptor leads to."""
    flags = _MOVE_FROM_EMPTY_PATH | _MOVE_TO_EMPTY_PATH
    kernel.checked(_libc.syscall(_MOVE_MOUNT, mount, b"", target, b"", flags))


def bind(handle: int, target: int, attributes: int) -> None:
    """Let what a descriptor leads to be seen over another, with these attributes."""
    mount = copied(handle)
    try:
        restrict(mount, attributes)
        attach(mount, target)
    finally:
        os.close(mount)


def restrict_at(path: str, attributes: int) -> None:
    """Add attributes to the one mount at a path."""
    arguments = struct.pack("=QQQQ", attributes, 0, 0, 0)
    kernel.checked(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), 0, arguments, len(arguments)), path)


def pivot_root(new: str, old: str) -> None:
    """Make a mount the root of this mount namespace's processes, and let the former root be seen in `old`."""
    number = _PIVOT_ROOT[platform.machine()]
    kernel.checked(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), new)
