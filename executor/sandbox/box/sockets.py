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
    return [
        os.path.join(folder, os.path.relpath(real, place))
        for real in sorted(set(map(os.path.realpath, named)))
        for place, folder in places.items()
        if real.startswith(place.rstrip("/") + "/") and _is_socket(real)
    ]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
