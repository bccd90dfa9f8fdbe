"""The root of a box: folders of the system, read-only, and of this machine nothing but what its run is given.

It is made in two steps. What every run has can be mounted before anybody knows which run it will be; what this run has
is mounted when that is known. Until then the machine's own root is there, in `/old`, and nothing of the run is started.

Every path is opened below that root once, by descriptor, and what was opened is mounted.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from executor.sandbox import kernel, user
from executor.sandbox.box import mounts
from executor.sandbox.confinement import SYSTEM_FOLDERS, SYSTEM_IN_BOX, View
from executor.sandbox.working import layers

MEMORY = "/dev/shm"
_BASE = "/tmp"  # hidden for the moment in which the new root is made
NEW = "/new"
"""Where the new root is mounted until it is the only one."""
_OLD = "/old"
_SKELETON = "mode=755,size=8m,nr_inodes=16k"  # folders and links to mount on; no file of anybody's
_SHARED_MEMORY = "mode=1777,size=1g"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_SAFE = mounts.NOSUID | mounts.NODEV
# By these the C library, joblib, PyTorch and others tell how many processors there are.
_PROCESSORS = "/sys/devices/system/cpu"
_RESOLVER = "/etc/resolv.conf"


def begin(parts: Sequence[str]) -> None:
    """Make what every run has: an empty root with the system's folders, devices, processes and memory of its own.

    Args:
        parts: of `parts.OPTIONAL`, those that this machine grants.

    Raises:
        OSError: the kernel, or this machine's policy, refuses a part of it.
    """
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _BASE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64k")
    for name in (NEW, _OLD):
        os.mkdir(_BASE + name, 0o755)
    os.chdir(_BASE)
    # The mount is moved, so that nothing of the machine's /tmp is hidden in /old.
    mounts.pivot_root(".", f".{_OLD}")
    os.chdir("/")
    kernel.mount("tmpfs", NEW, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _SKELETON)
    with _roots() as (old, new):
        for folder in (*SYSTEM_IN_BOX, _PROCESSORS):
            _system_folder(old, new, folder)
        _resolver(old, new)
        _devices(old, new)
    os.makedirs(f"{NEW}/var/tmp", 0o755)
    kernel.mount("tmpfs", f"{NEW}/var/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _SHARED_MEMORY)
    for name in ("proc", "tmp"):
        os.mkdir(f"{NEW}/{name}", 0o755)
    _processes("proc" in parts)
    if "pts" in parts:
        os.mkdir(f"{NEW}/dev/pts", 0o755)
        flags = kernel.MS_NOSUID | kernel.MS_NOEXEC
        kernel.mount("devpts", f"{NEW}/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=620,max=64")


def complete(view: View) -> None:
    """Mount what this run has, make the new root the only one, and close it to changes.

    Raises:
        OSError: something that it needs is gone, is led to by a link by now, or cannot be mounted.
    """
    covers = _covers(view)
    with _roots() as (old, new):
        for entry in sorted(_entries(view, covers), key=lambda one: (one.target.count("/"), one.target)):
            _mount(entry, view, old, new)
        for path in covers:
            if os.path.isdir(NEW + path):
                mounts.restrict_at(NEW + path, mounts.RDONLY | _SAFE)
    if view.named is not None:
        user.mount_entry(view.named, view.writable[0], NEW, NEW)
    mounts.restrict_at(NEW, mounts.RDONLY | _SAFE)
    os.chdir(NEW)
    # Twice the same place: the former root, with all that hangs in it, comes to lie over the new one, and is taken off.
    mounts.pivot_root(".", ".")
    kernel.unmount(".")
    os.chdir("/")


class _Entry(NamedTuple):
    """What is mounted at a path: itself with these attributes, a layer over it, nothing instead of it, or a link."""

    path: str
    kind: str
    attributes: int = _SAFE
    straight: bool = True
    at: str = ""

    @property
    def target(self) -> str:
        """Where it is seen."""
        return self.at or self.path


def _entries(view: View, covers: Sequence[str]) -> Iterator[_Entry]:
    """All of it; what lies in a folder comes after that folder."""
    for path in view.readable:
        if path != view.source and not _is_there(path, view, covers):
            yield _Entry(path, "bind", mounts.RDONLY | _SAFE)
    for path in view.cached:
        if path != view.source:
            yield _Entry(path, "bind", mounts.RDONLY | _SAFE, straight=False)
    for path in (*view.writable, *view.shared):
        yield _Entry(path, "bind")
    for path in view.links:
        if not _is_there(path, view, covers):
            yield _Entry(path, "link")
    for path in covers:
        yield _Entry(path, "cover")
    for path in view.sockets:
        yield _Entry(path, "socket")
    if view.temporary:
        yield _Entry(view.temporary, "bind", at="/tmp")
    if view.source:
        straight = view.source not in view.cached
        yield _Entry(view.source, "layer" if view.written else "bind", mounts.RDONLY | _SAFE, straight)


def _covers(view: View) -> list[str]:
    """What no run may reach and that lies in a folder which this one is given."""
    given = _beneath(*view.readable, *view.machine, *view.shared, *view.cached, *view.writable)
    return [path for path in view.forbidden if path.startswith(given) and os.path.lexists(_OLD + path)]


def _is_there(path: str, view: View, covers: Sequence[str]) -> bool:
    """Whether it is in what is mounted anyway: a folder of the system, or the source."""
    if path in SYSTEM_FOLDERS:
        return True
    return path.startswith(_beneath(*SYSTEM_IN_BOX, view.source)) and not path.startswith(_beneath(*covers))


def _mount(entry: _Entry, view: View, old: int, new: int) -> None:
    target = entry.target
    if entry.kind == "link":
        _link(old, new, entry.path)
        return
    if entry.kind == "cover":
        _cover(old, new, target)
        return
    if entry.kind == "socket":
        with contextlib.suppress(OSError), _handle(mounts.opened(new, target)) as there:
            if stat.S_ISSOCK(os.fstat(there).st_mode):
                _cover(old, new, target)
        return
    with _handle(mounts.opened(old, entry.path, straight=entry.straight)) as source:
        if entry.kind == "layer":
            os.close(_place(new, target, folder=True))
            with _handle(mounts.opened(old, view.written, straight=False)) as written:
                layers.mount_over(source, written, NEW + target, view.uid, f"{_OLD}/proc", view.owners)
        else:
            _bind(source, new, target, entry.attributes)


def _bind(source: int, new: int, target: str, attributes: int) -> None:
    with _handle(_place(new, target, folder=stat.S_ISDIR(os.fstat(source).st_mode))) as where:
        mounts.bind(source, where, attributes)


def _cover(old: int, new: int, path: str) -> None:
    """Put an empty folder over a folder, and over a file what cannot be opened."""
    if os.path.isdir(NEW + path):
        kernel.mount("tmpfs", NEW + path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64k")
        return
    with (
        _handle(mounts.opened(old, "/dev/null", straight=False)) as nothing,
        _handle(mounts.opened(new, path)) as where,
    ):
        mounts.bind(nothing, where, mounts.RDONLY | _SAFE)  # a device, where there are none


def _system_folder(old: int, new: int, folder: str) -> None:
    """Bind one, or make the link again that it is (`/bin` to `usr/bin`); what this machine lacks is left out."""
    path = _OLD + folder
    if os.path.islink(path):
        os.symlink(os.readlink(path), NEW + folder)
        return
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        _handle(mounts.opened(old, folder, straight=False)) as source,
    ):
        _bind(source, new, folder, mounts.RDONLY | _SAFE)


def _resolver(old: int, new: int) -> None:
    """The file that says who resolves names, where it is a link that leads out of the system's folders."""
    with contextlib.suppress(FileNotFoundError), _handle(mounts.opened(old, _RESOLVER, straight=False)) as found:
        path = os.readlink(f"{_OLD}/proc/self/fd/{found}").removeprefix(_OLD)
        if path != _RESOLVER and not path.startswith(_beneath(*SYSTEM_IN_BOX)):
            _bind(found, new, path, mounts.RDONLY | _SAFE)


def _devices(old: int, new: int) -> None:
    os.mkdir(f"{NEW}/dev", 0o755)
    for name in _DEVICES:
        path = f"/dev/{name}"
        with _handle(mounts.opened(old, path, straight=False)) as source:
            _bind(source, new, path, mounts.NOSUID | mounts.NOEXEC)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{NEW}/dev/{name}")
    os.mkdir(NEW + MEMORY, 0o755)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", NEW + MEMORY, "tmpfs", flags, _SHARED_MEMORY)


def _processes(own: bool) -> None:
    """The list of processes: the box's own, or the machine's where a container lets nobody mount another."""
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    if own:
        kernel.mount("proc", f"{NEW}/proc", "proc", flags)
    else:
        kernel.mount(f"{_OLD}/proc", f"{NEW}/proc", None, kernel.MS_BIND | kernel.MS_REC)


def _place(new: int, path: str, *, folder: bool) -> int:
    """A descriptor of what is mounted on, which is made as far as it is not there; no link is followed on the way.

    Raises:
        OSError: a link is on the way; or a part is missing where nothing can be made, in what is mounted read-only.
    """
    try:
        return mounts.opened(new, path)
    except FileNotFoundError:
        _folder(new, os.path.dirname(path))
        if folder:
            os.mkdir(NEW + path, 0o755)
        else:
            os.close(os.open(NEW + path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        return mounts.opened(new, path)


def _folder(new: int, path: str) -> None:
    if path != "/":
        os.close(_place(new, path, folder=True))


def _link(old: int, new: int, path: str) -> None:
    """Make a link of the machine again, unless what is mounted has it."""
    above = mounts.opened(old, os.path.dirname(path), straight=False)
    try:
        target = os.readlink(os.path.basename(path), dir_fd=above)
    finally:
        os.close(above)
    _folder(new, os.path.dirname(path))
    with contextlib.suppress(FileExistsError):
        os.symlink(target, NEW + path)


@contextlib.contextmanager
def _roots() -> Iterator[tuple[int, int]]:
    """Descriptors of the machine's root and of the new one."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    with _handle(os.open(_OLD, flags)) as old, _handle(os.open(NEW, flags)) as new:
        yield old, new


@contextlib.contextmanager
def _handle(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _beneath(*folders: str) -> tuple[str, ...]:
    """What the path of everything in one of these folders starts with."""
    return tuple(folder.rstrip("/") + "/" for folder in folders if folder)
