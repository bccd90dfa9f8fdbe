"""Files of a source that belong to somebody else than the run's user, who is to change them in the run's own layer.

Through a layer the kernel asks the files below for their owner and mode, as anywhere. So a run that has a user id of
its own, or the source of somebody else, could add files and change none.

As root, the source is seen below with two owners swapped: its own, and the run's. That lets the run read what its owner
may read. So it is done only where that is no more than the submitter could read anyway: of a source that was uploaded,
which the worker has unpacked, and on a worker to which nobody but its own user submits, who is root. Elsewhere, as
without root, what others may read of the source is copied into the layer first, by a process with the run's rights and
within the limits of a copy; what does not fit stays as it is, readable and not to be changed. A folder is copied only
where the run may list it and pass through it: the kernel reads what lies below a copied one with the rights of whoever
has mounted the layer.

A source of the run's own user costs no look at its files: only the owner of its root is looked at.
"""

import contextlib
import ctypes
import os
import signal
import struct
from collections.abc import Iterator

from executor.sandbox import kernel
from executor.sandbox.working import copy

MAPPED, COPIED = "mapped", "copied"

_SETATTR_IDMAP = 0x00100000
_SETATTR_RDONLY, _SETATTR_NOSUID, _SETATTR_NODEV = 0x1, 0x2, 0x4
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _AT_EMPTY_PATH, _AT_FDCWD, _MOVE_FROM_EMPTY_PATH = 1, 0x1000, -100, 0x04
_NEWUSER, _VM = 0x10000000, 0x100
_STACK = 64 << 10  # bytes
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_libc = ctypes.PyDLL(None, use_errno=True)


def plan(owner: int, uid: int | None, *, readable_anyway: bool) -> str:
    """Say what has to be done about a source's owner; nothing, "", where it is the run's user.

    Args:
        owner: of the source's root.
        uid: lent to the run; None if that has the worker's own.
        readable_anyway: whoever submitted the run can read all of the source.
    """
    if owner == (os.geteuid() if uid is None else uid):
        return ""
    return MAPPED if uid is not None and readable_anyway else COPIED


def copy_up(source: int, upper: int, uid: int | None, proc: str) -> None:
    """Copy what the run may read of a source into its layer, within limits, as its user; what belongs to that is left.

    Raises:
        OSError: it cannot be written.
    """
    below = os.open(f"{proc}/self/fd/{source}", _FOLDER)
    pid = os.fork()
    if pid == 0:
        number = 1
        try:
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            copy.fill(below, upper, missed=False)
            number = 0
        except OSError as error:
            number = error.errno or 1
        finally:
            os._exit(number)
    os.close(below)
    if number := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError(abs(number), os.strerror(abs(number)))


def mount_mapped(source: int, target: str, uid: int, proc: str) -> bool:
    """Mount a source with its owner and the run's user swapped; False where the kernel or its file system cannot."""
    found = os.stat(f"{proc}/self/fd/{source}")
    tree = mapped = -1
    try:
        tree = _call(_OPEN_TREE, source, b"", _OPEN_TREE_CLONE | _AT_EMPTY_PATH | os.O_CLOEXEC)
        mapped = _user_namespace((found.st_uid, found.st_gid), uid, proc)
        # It is only read: what is changed goes into the layer.
        set_ = _SETATTR_IDMAP | _SETATTR_RDONLY | _SETATTR_NOSUID | _SETATTR_NODEV
        attributes = struct.pack("=QQQQ", set_, 0, 0, mapped)
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes))
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_FROM_EMPTY_PATH)
    except OSError:
        return False
    finally:
        for handle in (tree, mapped):
            if handle >= 0:
                os.close(handle)
    return True


def _user_namespace(owner: tuple[int, int], uid: int, proc: str) -> int:
    """A descriptor of a user namespace that stands for the mapping; nothing ever runs in it.

    It takes a process to make one. This one has the memory of its parent, since a copy of that would cost twenty times
    as much, and a stack of its own, on which it does nothing but sleep until it is killed.
    """
    stack = ctypes.create_string_buffer(_STACK)
    top = ctypes.addressof(stack) + _STACK & ~15
    with kernel.signals_held():  # no handler of ours runs on that stack
        return _mapped(top, owner, uid, proc)


def _mapped(stack: int, owner: tuple[int, int], uid: int, proc: str) -> int:
    pid = _libc.clone(_libc.pause, ctypes.c_void_p(stack), _VM | _NEWUSER | signal.SIGCHLD, None)
    number = ctypes.get_errno()
    try:
        if pid < 0:
            raise OSError(number, os.strerror(number))
        with _process_folder(pid, proc) as folder:
            for name, one in (("uid_map", owner[0]), ("gid_map", owner[1])):
                handle = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
                try:
                    os.write(handle, "".join(_swapped(one, uid, f"{proc}/self/{name}")).encode())
                finally:
                    os.close(handle)
            return os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    finally:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextlib.contextmanager
def _process_folder(pid: int, proc: str) -> Iterator[int]:
    """The folder of a child in /proc, which may be that of another process namespace, where it has another number."""
    handle = os.pidfd_open(pid)
    try:
        with open(f"{proc}/self/fdinfo/{handle}") as lines:
            seen = next(line.split()[1] for line in lines if line.startswith("Pid:"))
    finally:
        os.close(handle)
    folder = os.open(f"{proc}/{seen}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _swapped(owner: int, lent: int, known: str) -> Iterator[str]:
    """Lines of a map that swaps two ids and leaves all others that this process knows as they are."""
    with open(known) as lines:
        ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    places = {owner: lent, lent: owner}
    for first, count in ranges:
        at, end = first, first + count
        for one in [*sorted(one for one in places if first <= one < end), end]:
            if one > at:
                yield f"{at} {at} {one - at}\n"
            if one < end:
                yield f"{one} {places[one]} 1\n"
            at = one + 1


def _call(number: int, *arguments: object) -> int:
    return kernel.checked(_libc.syscall(number, *arguments))
