"""End a whole process tree: new sessions, double forks and daemons included.

The caller is a subreaper, so a descendant whose parent dies becomes the caller's child. Killing goes on until the
kernel reports no child, which is the only reliable statement about a tree.
"""

import contextlib
import itertools
import os
import select
import signal
import stat
import time
from collections.abc import Collection, Iterator

_END_USER_PATIENCE = 1.0
_DESCRIPTORS_LIMIT = 20_000  # a look at so many takes a tenth of a second
_ENVIRON_LIMIT = 8 << 20  # bytes; the kernel passes a quarter of the stack's limit, 8 MiB by default


def end_tree(
    spare: Collection[int] = (), patience: float = 5.0, uid: int | None = None, statuses: dict[int, int] | None = None
) -> bool:
    """Kill every descendant of this process except `spare` and their descendants.

    Everything is stopped first, so that nothing forks while the killing goes on.

    Args:
        spare: direct children that live on.
        patience: seconds before giving up on a process that will not die (in uninterruptible sleep).
        uid: the user id lent to the run, which nobody else has; this process is root then.
        statuses: receives the wait status of each direct child collected here.

    Returns:
        Whether nothing of the tree is left.
    """
    deadline = time.monotonic() + patience
    stopped: set[int] = set()
    reap(spare, statuses)
    if uid is not None and next(descendants(spare), None) is not None:
        _end_user(uid)
    while _stop(spare, stopped) and time.monotonic() < deadline:
        pass
    while left := list(descendants(spare)):
        for pid in left:
            send(pid, signal.SIGKILL)
        reap(spare, statuses)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def await_end(pid: int, seconds: float) -> bool:
    """Wait until a child has ended; it stays to be collected. Returns whether it has."""
    handle = os.pidfd_open(pid)
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        return bool(ended.poll(seconds * 1000))
    finally:
        os.close(handle)


def descendants(spare: Collection[int] = (), root: int | None = None) -> Iterator[int]:
    """Yield process ids below `root` (default: this process), parents before children, zombies too."""
    left = [pid for pid in children(os.getpid() if root is None else root) if pid not in spare]
    seen: set[int] = set()
    while left:
        pid = left.pop()
        if pid not in seen:  # a number may be reused meanwhile
            seen.add(pid)
            yield pid
            left += children(pid)


def children(pid: int) -> list[int]:
    """Return the direct children of a process: those of all its threads."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as listing:
                found += [int(word) for word in listing.read().split()]
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{thread}"):
                return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            continue
    return found


def _children_by_scan(parent: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:  # a process's name in it is no text
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry))
    return found


def _end_user(uid: int) -> None:
    """Kill all processes of a user id in one call that no fork can outrun, from a fork with that user id."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)  # all it may signal but itself
        finally:
            os._exit(0)
    deadline = time.monotonic() + _END_USER_PATIENCE
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:  # the run has stopped it; the caller kills one by one
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.0005)


def _stop(spare: Collection[int], stopped: set[int]) -> bool:
    """Stop what still runs, each before its children are listed; False if there was nothing to stop."""
    before = len(stopped)
    for pid in descendants(spare):
        if pid not in stopped:
            send(pid, signal.SIGSTOP)  # here, so that `descendants` lists its children only now
            stopped.add(pid)
    return len(stopped) > before


def reap(spare: Collection[int], statuses: dict[int, int] | None = None) -> None:
    """Collect dead children, except those in `spare`, which somebody else waits for."""
    for pid in children(os.getpid()):
        if pid not in spare:
            try:
                collected, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if collected and statuses is not None:
                statuses[pid] = status


def send(pid: int, number: int) -> None:
    """Signal a process, if it is still there."""
    # Not permitted: a process changed its credentials before no_new_privs; the caller's deadline ends the loop.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def readers(pids: Collection[int]) -> set[int]:
    """Return those whose standard input is a pipe that another one of them writes to.

    None where this process may not look: without CAP_SYS_PTRACE at processes of another user.
    """
    reading: dict[str, set[int]] = {}
    for pid in pids:
        if (file := _file(f"/proc/{pid}/fd/0")).startswith("pipe:"):
            reading.setdefault(file, set()).add(pid)
    found: set[int] = set()
    looks = _DESCRIPTORS_LIMIT if reading else 0
    for pid in pids:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
            for descriptor in itertools.islice(descriptors, looks):
                looks -= 1
                those = reading.get(_file(descriptor.path))
                if those and os.lstat(descriptor.path).st_mode & stat.S_IWUSR:
                    found |= those - {pid}
    return found


def _file(descriptor: str) -> str:
    """Name what a descriptor in /proc is open for."""
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


def sweep(workspace: str, uid: int | None) -> int:
    """Kill what a run left when worker, zygote and supervisor were killed at once; return how many processes.

    They are recognised by the HOME they were started with, or by the user id lent to the run.
    """
    mark = b"HOME=" + os.fsencode(workspace) + b"/home"
    killed = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            owner = os.stat(f"/proc/{entry}").st_uid
            with open(f"/proc/{entry}/environ", "rb") as environ:
                marked = mark in environ.read(_ENVIRON_LIMIT).split(b"\0")
        except OSError:
            continue
        if marked or (uid is not None and owner == uid):
            send(int(entry), signal.SIGKILL)
            killed += 1
    return killed
