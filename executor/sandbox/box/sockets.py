"""Sockets of this machine that lie in what a run is given: read-only or not, it could connect to them.

The kernel lists those of the network namespace that this process is in, under the path that their owner bound them to,
in whatever root that was: a name in it may be that of any file here, so what is there is looked at. One that was bound
by a relative name, or renamed, is found by a look into the folders themselves, at their first thousand entries. One
that is bound while the run goes on is not found.
"""

import contextlib
import itertools
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_LIST = "/proc/self/net/unix"
_PATH = 7  # fields before it
_LOOKS = 1000  # entries, which take half a millisecond


def inside(folders: Sequence[str], walked: Iterable[Path] = ()) -> list[str]:
    """Paths of sockets that lie in one of these folders.

    Args:
        folders: absolute, with or without links on the way; one that is a link itself shows nothing of its own.
        walked: those of them to look into.
    """
    places = {os.path.realpath(folder): folder for folder in folders if not os.path.islink(folder)}
    with open(_LIST, "rb") as listing:
        fields = (line.rstrip(b"\n").split(maxsplit=_PATH) for line in listing)
        named = {os.fsdecode(one[_PATH]) for one in fields if len(one) > _PATH and one[_PATH].startswith(b"/")}
    found = {place for name in named if (place := _place(name)) is not None}
    for folder in walked:
        found.update(_seen(os.path.realpath(folder)))
    return [
        os.path.join(folder, os.path.relpath(real, place))
        for real in sorted(found)
        for place, folder in places.items()
        if real.startswith(place.rstrip("/") + "/")
    ]


def _seen(top: str) -> Iterator[str]:
    """Sockets among the first entries of a folder, those nearest to its top first."""
    left = deque([top])
    looks = _LOOKS
    while left and looks:
        with contextlib.suppress(OSError), os.scandir(left.popleft()) as entries:
            for entry in itertools.islice(entries, looks):
                looks -= 1
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink() and _place(entry.path):
                    yield entry.path


def _place(path: str) -> str | None:
    """Where a socket really is, as the kernel follows its path: whoever chose that may have laid any links."""
    try:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return os.readlink(f"/proc/self/fd/{handle}") if stat.S_ISSOCK(os.fstat(handle).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(handle)
