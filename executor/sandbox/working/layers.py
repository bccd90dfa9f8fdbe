"""A layer of the run's own over its source: overlayfs, whose layers are given by descriptor and never by a path.

A source is named as its owner likes. In an option of a mount a colon, a comma or a backslash in that name would say
something: a folder called `a:/home/x` would have added that home as a layer.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from executor.sandbox import kernel
from executor.sandbox.working import UPPER, WORK, owners

# Nothing is kept of a layer but its files, so that none of the kernel's defaults may put what belongs to one elsewhere.
_PLAIN = "redirect_dir=nofollow,metacopy=off,index=off"
# What the kernel makes in the folder beside the upper one to know a layer that was not written to the disk whole.
_DIRTY = "work/incompat/volatile/dirty"
_OF_THE_KERNEL = ("work/incompat/volatile", "work/incompat", "work", "")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV


def prepare_written(place: Path, uid: int | None) -> None:
    """Make the folders of one attempt's layer; the worker does so with its workspace.

    Args:
        place: the folder to make, to which no one but the worker's user has the way.
        uid: the user id lent to the run, whose working folder has the owner and mode of the layer.
    """
    place.mkdir(mode=0o700)
    for name in (UPPER, WORK):
        (place / name).mkdir(mode=0o755)
    if uid is not None:
        os.chown(place / UPPER, uid, uid)


def clear_written(place: Path) -> None:
    """Remove what the kernel has left of a layer, deepest first, as it is known; whatever else there is stays."""
    with contextlib.suppress(OSError):
        for number in os.listdir(place / WORK):
            own = f"{place}/{WORK}/{number}"
            os.unlink(f"{own}/{_DIRTY}")
            for folder in _OF_THE_KERNEL:
                os.rmdir(f"{own}/{folder}")


def mount_over(source: int, written: int, target: str, uid: int | None, proc: str = "/proc", how: str = "") -> None:
    """Mount a source with the run's own layer over it; called with all rights over a mount namespace of its own.

    Args:
        source: a descriptor of the source, opened in this mount namespace; it may be of no use but to be named.
        written: one of the attempt's folder of `prepare_written`.
        target: where the run sees it.
        uid: the user id lent to the run, None if that is this process's.
        proc: where /proc is.
        how: what is done about owners, see `owners.plan`.

    Raises:
        OSError: the kernel refuses it.
    """
    with contextlib.ExitStack() as held:
        upper, work = (held.enter_context(_opened(name, written)) for name in (UPPER, _fresh(written, uid)))
        lower = source
        if how == owners.MAPPED and uid is not None and owners.mount_mapped(source, target, uid, proc):
            lower = held.enter_context(_opened(target, None))
        elif how:
            owners.copy_up(source, upper, uid, proc)
        _mount(lower, upper, work, target, proc)


def _fresh(written: int, uid: int | None) -> str:
    """Make the folder that the kernel needs beside the upper one; both are new where another mount has used them.

    Such as that of a box which was given up before its start, since what Python reads then was known only later.
    """
    number = secrets.token_hex(8)
    with _opened(WORK, written) as work:
        if os.listdir(work):
            os.rename(UPPER, f"{UPPER}-{number}", src_dir_fd=written, dst_dir_fd=written)
            os.mkdir(UPPER, 0o755, dir_fd=written)
            if uid is not None:
                os.chown(UPPER, uid, uid, dir_fd=written)
    os.mkdir(f"{WORK}/{number}", 0o700, dir_fd=written)
    return f"{WORK}/{number}"


def _mount(lower: int, upper: int, work: int, target: str, proc: str) -> None:
    # The kernel's marks are attributes of users, as root, too: those of root nobody who collects has a right to read.
    layers = f"userxattr,lowerdir={proc}/self/fd/{lower},upperdir={proc}/self/fd/{upper},workdir={proc}/self/fd/{work}"
    try:
        # What is written is thrown away, or read by processes of this machine: no disk is waited for at the end.
        kernel.mount("overlay", target, "overlay", _SAFE, f"{layers},{_PLAIN},volatile")
    except OSError as refused:
        if refused.errno != errno.EINVAL:
            raise
        kernel.mount("overlay", target, "overlay", _SAFE, layers)  # an older kernel knows fewer options


@contextlib.contextmanager
def _opened(path: str, folder: int | None) -> Iterator[int]:
    handle = os.open(path, _FOLDER, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)
