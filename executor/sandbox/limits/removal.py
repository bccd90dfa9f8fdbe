"""Kill what is in control groups, and remove them."""

import contextlib
import os
import signal
import time

_PATIENCE = 1.0  # seconds for the dead to leave
_PAUSE = 0.002
_ROUNDS = 200  # of kills, each of all that there are


def kill(folder: str) -> None:
    """Kill all that is in a group and below it: by one write where the kernel has that, else one by one."""
    with contextlib.suppress(OSError):
        handle = os.open(f"{folder}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, b"1")
            return
        finally:
            os.close(handle)
    for _ in range(_ROUNDS):
        left = [pid for place in _folders(folder) for pid in _members(place)]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)


def clear(folder: str) -> bool:
    """Kill all that is in a group and below it, and remove it with all below; whether it is gone."""
    kill(folder)
    return remove(*reversed(_folders(folder)))


def remove(*folders: str, patience: float = _PATIENCE) -> bool:
    """Remove empty groups; whether they are gone. What was killed a moment ago may not have left yet."""
    until = time.monotonic() + patience
    for folder in folders:
        while True:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                if time.monotonic() > until:
                    return False
                time.sleep(_PAUSE)
                continue
            break
    return True


def _folders(folder: str) -> list[str]:
    """A group and all below it, the upper ones first, however deep they lie."""
    found, left = [], [folder]
    while left:
        found.append(place := left.pop())
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            left += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return found


def _members(folder: str) -> list[int]:
    with contextlib.suppress(OSError, ValueError), open(f"{folder}/cgroup.procs") as listing:
        return [pid for line in listing if (pid := int(line)) > 0]  # 0: of another pid namespace
    return []
