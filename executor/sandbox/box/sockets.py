"""Sockets of this machine that lie in what a run is given: read-only or not, it could connect to them.

The kernel lists those of the network namespace that this process is in, under the path that their owner bound them to.
One that is bound while the run goes on is not found.
"""

import os
from collections.abc import Sequence

_LIST = "/proc/self/net/unix"
_PATH = 7  # fields before it


def inside(folders: Sequence[str]) -> list[str]:
    """Paths of sockets that lie in one of these folders.

    Args:
        folders: absolute, with or without links on the way.
    """
    places = {os.path.realpath(folder): folder for folder in folders}
    found: dict[str, None] = {}
    with open(_LIST, "rb") as listing:
        for line in listing:
            fields = line.rstrip(b"\n").split(maxsplit=_PATH)
            if len(fields) > _PATH and fields[_PATH].startswith(b"/"):
                real = os.path.realpath(os.fsdecode(fields[_PATH]))
                found |= {
                    os.path.join(folder, os.path.relpath(real, place)): None
                    for place, folder in places.items()
                    if real.startswith(place.rstrip("/") + "/") and os.path.lexists(real)
                }
    return list(found)
