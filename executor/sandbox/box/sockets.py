"""Sockets of this machine that lie in what a run is given: read-only or not, it could connect to them.

The kernel lists those of the network namespace that this process is in, under the path that their owner bound them to,
in whatever root that was: a name in it may be that of any file here, so what is there is looked at. One that is bound
while the run goes on is not found.
"""

import os
import stat
from collections.abc import Sequence

_LIST = "/proc/self/net/unix"
_PATH = 7  # fields before it


def inside(folders: Sequence[str]) -> list[str]:
    """Paths of sockets that lie in one of these folders.

    Args:
        folders: absolute, with or without links on the way.
    """
    places = {os.path.realpath(folder): folder for folder in folders}
    with open(_LIST, "rb") as listing:
        fields = (line.rstrip(b"\n").split(maxsplit=_PATH) for line in listing)
        named = {os.fsdecode(one[_PATH]) for one in fields if len(one) > _PATH and one[_PATH].startswith(b"/")}
    found = (place for name in named if (place := _place(name)) is not None)
    return [
        os.path.join(folder, os.path.relpath(real, place))
        for real in sorted(set(found))
        for place, folder in places.items()
        if real.startswith(place.rstrip("/") + "/")
    ]


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
