"""Removing a tree that somebody else filled: no permission bit, depth or link in it decides what happens.

`shutil.rmtree` recurses, holds a descriptor for each level and stops at a folder without permissions. A run can
nest folders beyond all of these, so nothing is descended into: what lies deeper moves up, until nothing is left.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; links are never followed. What resists is left."""
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        with _opened(str(path), None) as top:
            while _lowered(top):
                pass
        os.rmdir(path)


def _lowered(top: int) -> bool:
    """Take one level away below `top`; False once nothing more goes."""
    gone = False
    for name in os.listdir(top):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
                with _opened(name, top) as folder:
                    _move_up(folder, top)
                os.rmdir(name, dir_fd=top)
            else:
                os.unlink(name, dir_fd=top)
            gone = True
    return gone


def _move_up(folder: int, top: int) -> None:
    """Empty a folder: its folders go to the top, under names of ours, everything else goes for good."""
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                # A folder has to be writable itself to get another parent.
                with _opened(name, folder):
                    os.rename(name, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _opened(name: str, folder: int | None) -> Iterator[int]:
    """A folder, made accessible to its owner first; never what a link points to, even one put there this moment."""
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
