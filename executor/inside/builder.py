"""Build a Python environment: runs in the installer's sandbox, in the interpreter that the environment is for.

Standard library only, any Python from 3.8: it comes as text, without a path in the sandbox. It calls uv to resolve,
and, unless the worker already has an environment of that lock, to install.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading

PR_SET_CHILD_SUBREAPER = 36
LOOK = 0.25  # seconds between two looks for what a package's build has left running


def main(plan):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    adopt()
    for command in plan["resolve"]:
        call(command)
    with open("lock.txt", "rb") as file:
        digest = hashlib.sha256(plan["seed"].encode() + file.read()).hexdigest()
    if digest not in plan["known"]:
        for command in plan["install"]:
            call(command)


def call(command):
    """Run uv, which reports on stderr; its stdout only repeats the file that it writes."""
    over = threading.Event()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as uv:
        watch = threading.Thread(target=keep_going, args=(uv.pid, over), daemon=True)
        watch.start()
        status = uv.wait()
        over.set()
        watch.join()
    if status:
        sys.exit(status if status > 0 else 128 - status)


def adopt():
    """Become the parent of what a package's build leaves running; where that cannot be, uv waits for it."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def keep_going(uv, over):
    """End daemons that hold a pipe from which uv reads a build that is over: it waits for the end of that pipe."""
    while not over.wait(LOOK):
        left = children(os.getpid()) - {uv}
        if left and not any(map(runs, children(uv))):
            waited_for = pipes(uv)
            for pid in family(left):
                if pipes(pid) & waited_for:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def family(pids):
    """These processes and their descendants."""
    found, new = set(pids), set(pids)
    while new:
        new = set().union(*map(children, new)) - found
        found |= new
    return found


def children(pid):
    """The ids of a process's children, of all its threads; none where the kernel does not tell."""
    found = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
    return found


def runs(pid):
    """Whether a process has not ended yet; its parent may not have looked."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


def pipes(pid):
    """The pipes that a process has open, either end."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return {name for name in found if name.startswith("pipe:")}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
