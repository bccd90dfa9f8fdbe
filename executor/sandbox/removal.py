"""Remove a tree that somebody else filled, whatever its permissions, depth and links.

`shutil.rmtree` recurses, holds a descriptor per level and stops at a folder without permissions. A run can nest folders
beyond that, so nothing here descends: subfolders move up to the top until nothing is left.
"""

import contextlib
import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

_AT_ONCE = 4096  # names; a folder may have more than memory takes


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents; never follow a link. What resists is left."""
    with contextlib.suppress(OSError):
        os.rmdir(path)  # what most runs leave is empty
        return
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        with _opened(str(path), None) as top:
            while _lowered(top):
                pass
        os.rmdir(path)


def _lowered(top: int) -> bool:
    """Remove one level below `top`; False once nothing more can be removed."""
    gone = False
    for name in _names(top):
        with contextlib.suppress(OSError):
            if not _gone_at_once(name, top):
                with _opened(name, top) as folder:
                    gone = _move_up(folder, top) or gone
                os.rmdir(name, dir_fd=top)
            gone = True
    return gone


def _gone_at_once(name: str, folder: int) -> bool:
    """Remove what is no folder, or an empty one; False for a folder with something in it.

    Raises:
        OSError: it resists.
    """
    if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
        os.unlink(name, dir_fd=folder)
        return True
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:
        return False
    return True


def _names(folder: int) -> Iterator[str]:
    """What lies in a folder; what changes meanwhile may be left out, or come twice."""
    with os.scandir(folder) as listing:
        while some := [entry.name for entry in itertools.islice(listing, _AT_ONCE)]:
            yield from some


def _move_up(folder: int, top: int) -> bool:
    """Empty a folder: move its folders to the top, under random names, and delete everything else.

    Returns whether anything of it is gone.
    """
    gone = False
    for name in _names(folder):
        with contextlib.suppress(OSError):
            if not _gone_at_once(name, folder):
                # The kernel lets a folder change its parent only if it is writable itself.
                with _opened(name, folder):
                    os.rename(name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
            gone = True
    return gone


@contextlib.contextmanager
def _opened(name: str, folder: int | None) -> Iterator[int]:
    """Open a folder after making it accessible to its owner; never a link, even one that appears meanwhile."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
        opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle)
    finally:
        os.close(handle)
    try:
        yield opened
    finally:
        os.close(opened)
