"""The few Linux calls Python does not offer: prctl, Landlock, mount namespaces.

Most functions are one system call with its error turned into `OSError`. Nothing here decides anything.
Sources: prctl(2), landlock(7) and linux/landlock.h, mount(2), unshare(2).
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import stat
import struct
import sys
import time
from collections.abc import Collection, Iterable, Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_MASK = 128  # bytes of a sigset_t

_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_READ_SEARCH = 2
_OPENAT2 = 437
_RESOLVE_NO_XDEV, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x01, 0x04, 0x08

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_KEYCTL = {"x86_64": 250, "aarch64": 219}  # the call's number; on other machines keyrings are not touched
_KEYCTL_JOIN_SESSION_KEYRING = 1
_QUOTA_PATIENCE = 1.0
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
_MNT_DETACH = 2

# The landlock system calls have these numbers on every architecture that Linux gained after 5.13,
# x86-64 and arm64 among them.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_CREATE_RULESET_ERRATA = 2
_LANDLOCK_RULE_PATH_BENEATH = 1
SCOPES = 6
"""The first Landlock ABI that keeps abstract unix sockets and signals inside."""
ALL_THREADS = 8
"""The first that binds every thread of the process that asks."""
UNIX_SOCKETS = 9
"""The first that denies connections to unix sockets with a path."""
_LANDLOCK_SCOPED = 1 | 2  # abstract unix sockets, signals
_LANDLOCK_NET_TCP = 1 | 2  # bind, connect
_LANDLOCK_ALL_THREADS = 1 << 3

FS_EXECUTE = 1 << 0
FS_WRITE_FILE = 1 << 1
FS_READ_FILE = 1 << 2
FS_READ_DIR = 1 << 3
FS_MAKE_CHAR = 1 << 6
FS_MAKE_BLOCK = 1 << 11
FS_REFER = 1 << 13
FS_TRUNCATE = 1 << 14
FS_IOCTL_DEV = 1 << 15
_FS_RESOLVE_UNIX = 1 << 16  # connections to unix sockets that were made outside
_FS_BASE = (1 << 13) - 1  # ABI 1: execute … make_sym

FS_DEVICES = FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_IOCTL_DEV
FS_READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR


def harden() -> None:
    """Make this process unreadable to others of its user and unable to leave a core file.

    A process that is not dumpable belongs to root in /proc: `/proc/PID/mem`, `environ` and ptrace are closed to its
    user. exec clears the flag, so each of our processes sets it itself. Other systems than Linux have no worker; there,
    the process that makes a key pair only gives up its core file.
    """
    if sys.platform == "linux":
        set_dumpable(False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_dumpable(dumpable: bool) -> None:
    """Say whether processes of the same user may read this one's memory, and whether its /proc folder is the user's."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def become_subreaper() -> None:
    """Adopt orphaned descendants, daemons that forked twice included."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal_number: int, parent: int) -> None:
    """Have the kernel signal this process when its parent dies; exit at once if it is dead already.

    Bound to the creating *thread*, and cleared by a change of credentials and by a fork: set it after both.
    """
    signalled_at_parents_death(signal_number)
    if os.getppid() != parent:
        os._exit(1)


def signalled_at_parents_death(number: int) -> None:
    """The same for a process that cannot see its parent, which is outside of its pid namespace; 0 takes it back."""
    _prctl(_PR_SET_PDEATHSIG, number)


def forbid_new_privileges() -> None:
    """Make setuid binaries and file capabilities powerless for this process and its descendants."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` shows (15 bytes)."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _libc.prctl(_PR_SET_NAME, buffer, 0, 0, 0)


def blank_environment(names: Collection[str]) -> None:
    """Overwrite these variables in the block that execve(2) left, which /proc/PID/environ shows to root for good.

    Those still in `os.environ` are first set anew in libc, elsewhere in memory, so that they stay usable.
    """
    with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, fields 50 and 51 in proc(5)
    for name in names:
        if name in os.environ:
            os.environ[name] = os.environ[name]
    block = ctypes.string_at(start, end - start) if start else b""
    place = start
    for entry in block.split(b"\0"):
        key, mark, _ = entry.partition(b"=")
        if mark and os.fsdecode(key) in names:
            ctypes.memset(place, 0, len(entry))
        place += len(entry) + 1


def landlock_abi() -> int:
    """Return the Landlock ABI version of the running kernel; 0 if it is missing or turned off."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    return max(int(version), 0)


def landlock_errata() -> int:
    """Return which errors of Landlock this kernel has mended, a bit for each; before 6.15 it does not tell, and 0."""
    fixed = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_ERRATA)
    return max(int(fixed), 0)


def scope_only() -> bool:
    """Keep abstract unix sockets and signals inside, and nothing else; False if the kernel cannot.

    For a run that sees only its own files by other means. Needs `forbid_new_privileges`.
    """
    if landlock_abi() < SCOPES:
        return False
    fd = _ruleset(struct.pack("=QQQ", 0, 0, _LANDLOCK_SCOPED))
    try:
        _restrict_self(fd)
    finally:
        os.close(fd)
    return True


class Ruleset:
    """A Landlock ruleset: denies everything the kernel can deny, except what `allow` opens.

    Network `none` denies TCP, too, by Landlock 4 and later. Of what is outside, a `server` may speak to its database
    and its broker over their unix sockets, and is denied files alone.
    """

    def __init__(self, network: str = "full", *, server: bool = False) -> None:
        abi = landlock_abi()
        self._handled = _FS_BASE
        if abi >= 2:
            self._handled |= FS_REFER
        if abi >= 3:
            self._handled |= FS_TRUNCATE
        if abi >= 5:
            self._handled |= FS_IOCTL_DEV
        if abi >= UNIX_SOCKETS and not server:
            self._handled |= _FS_RESOLVE_UNIX
        attributes = struct.pack("=Q", self._handled)
        if abi >= 4:
            attributes += struct.pack("=Q", _LANDLOCK_NET_TCP if network == "none" else 0)
        if abi >= SCOPES:
            # Abstract unix sockets and signals stay inside: a run cannot stop the worker of its own user.
            attributes += struct.pack("=Q", 0 if server else _LANDLOCK_SCOPED)
        self.fd = _ruleset(attributes)

    @property
    def everything(self) -> int:
        """Every file right this kernel knows that may be given: unix sockets from outside are in reach of no run."""
        return self._handled & ~_FS_RESOLVE_UNIX

    def allow(self, path: str, rights: int, *, straight: bool = False) -> bool:
        """Open one file, or a folder and everything beneath it; False if the path cannot be opened.

        `straight`: nor where a link leads there by now, on the way or at its end. It was decided on without any.
        """
        try:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if straight and os.readlink(f"/proc/self/fd/{target}") != path:
                return False
            if not stat.S_ISDIR(os.fstat(target).st_mode):  # /proc/self is closed to who is not dumpable
                rights &= FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV
            rule = ctypes.create_string_buffer(struct.pack("=Qi", rights & self._handled, target), 12)
            checked(_libc.syscall(_LANDLOCK_ADD_RULE, self.fd, _LANDLOCK_RULE_PATH_BENEATH, rule, 0))
        finally:
            os.close(target)
        return True

    def restrict_self(self) -> None:
        """Bind this process and all it starts, for good. Needs `forbid_new_privileges`."""
        _restrict_self(self.fd)


def _ruleset(attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return checked(_libc.syscall(_LANDLOCK_CREATE_RULESET, buffer, len(attributes), 0))


def _restrict_self(fd: int) -> None:
    flags = _LANDLOCK_ALL_THREADS if landlock_abi() >= ALL_THREADS else 0
    checked(_libc.syscall(_LANDLOCK_RESTRICT_SELF, fd, flags))


def open_beneath(name: bytes | str, flags: int, folder: int) -> int:
    """Open what lies in a folder: by no link, and on no other file system.

    A kernel before 5.6, or a container that knows no such call, keeps to the flags; give it O_NOFOLLOW and one name.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_NO_XDEV | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH)
    handle = _libc.syscall(_OPENAT2, folder, os.fsencode(name), how, len(how))
    if handle >= 0:
        return int(handle)
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM):
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)
    raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def reading_alone() -> Iterator[None]:
    """Have no capability in force, while the context lasts, but the one to read what is closed to others."""
    head = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    had = ctypes.create_string_buffer(24)
    if _libc.capget(head, had) < 0:
        yield
        return
    fields = list(struct.unpack("=6I", had.raw))  # in force, to be had, inherited; then the same for higher numbers
    fields[0], fields[3] = fields[0] & 1 << _CAP_DAC_READ_SEARCH, 0
    checked(_libc.capset(head, struct.pack("=6I", *fields)))
    try:
        yield
    finally:
        checked(_libc.capset(head, had))


def own_session_keyring() -> bool:
    """Leave the session keyring this process was started in, with its keys; see keyctl(2).

    Returns:
        False if the user's key quota is still used up after a second (the kernel frees dead processes' keys late).
    """
    number = _KEYCTL.get(platform.machine())
    deadline = time.monotonic() + _QUOTA_PATIENCE
    while number is not None and _libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0) < 0:
        error = ctypes.get_errno()
        if error in (errno.ENOSYS, errno.EPERM):  # the kernel has no keyrings, or the container may not use them
            break
        if error != errno.EDQUOT:
            raise OSError(error, os.strerror(error))
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def unshare(flags: int) -> None:
    """Call unshare(2)."""
    checked(_libc.unshare(flags))


def own_namespaces() -> None:
    """Leave the shared mount table and System V IPC: only its children see later mounts and segments."""
    unshare(_CLONE_NEWNS | _CLONE_NEWIPC)
    mount(None, "/", None, MS_REC | MS_PRIVATE)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Call mount(2)."""
    checked(_libc.mount(_text(source), _text(target), _text(kind), flags, _text(data)), target)


def unmount(target: str) -> None:
    """Detach a mount point."""
    checked(_libc.umount2(_text(target), _MNT_DETACH), target)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Keep all signals waiting while the context lasts; without a look at each of them, as `signal` takes."""
    every, before = (ctypes.c_ubyte * _MASK)(*[0xFF] * _MASK), (ctypes.c_ubyte * _MASK)()
    _libc.pthread_sigmask(signal.SIG_BLOCK.value, every, before)
    try:
        yield
    finally:
        _libc.pthread_sigmask(signal.SIG_SETMASK.value, before, None)


def close_descriptors(keep: Iterable[int]) -> None:
    """Close every descriptor above 2 except these."""
    kept = sorted(keep)
    low = 3
    for fd in [*kept, 1 << 20]:
        if fd > low:
            os.closerange(low, fd)
        low = max(low, fd + 1)


def _prctl(option: int, argument: int) -> None:
    checked(_libc.prctl(option, argument, 0, 0, 0))


def checked(outcome: int, path: str | None = None) -> int:
    """The outcome of a system call.

    Raises:
        OSError: it failed.
    """
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return outcome


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)
