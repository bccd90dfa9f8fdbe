"""Folders of sealrun's own: made for their owner alone, whichever command comes first; refused where others write."""

import os
import stat
from pathlib import Path

from secretstore.errors import FolderUnusable

_HINT = "set SEALRUN_HOME to a folder of your own"


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner alone; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing.append(place)
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
    if not missing and not folder.is_dir():
        folder.mkdir()  # which says what is wrong


def ensure_home(home: Path) -> None:
    """Make the home folder if there is none.

    Raises:
        FolderUnusable: it cannot be made, is somebody else's, or others can write to it.
    """
    try:
        private_folder(home)
    except OSError as problem:
        raise _unusable(home, (problem.strerror or "it cannot be created").lower()) from None
    check_home(home)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(home, "this user has no access to it")


def check_home(home: Path) -> None:
    """Refuse a home folder that another user, or a group, decides on: the key file and the known keys lie in it.

    Raises:
        FolderUnusable: it is one. Where there is none there is nothing to refuse.
    """
    try:
        found = os.stat(home)
    except OSError:
        return  # it is not there, or out of reach: with servers of one's own nothing in it may be needed
    if found.st_uid != os.geteuid():
        raise _unusable(home, f"it belongs to user id {found.st_uid}, and this is user id {os.geteuid()}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        whose = "everybody" if found.st_mode & stat.S_IWOTH else "its group"
        raise _unusable(home, f"{whose} can write to it", f"chmod 700 {home}, after a look at what is in it")


def _unusable(home: Path, why: str, hint: str = _HINT) -> FolderUnusable:
    return FolderUnusable("SEALRUN_HOME cannot be used: {path}: {why}", path=home, why=why, hint=hint)
