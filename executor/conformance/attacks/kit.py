"""What the attacks share: their list, raw system calls, and how one is tried without harm to the next."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import sys
from typing import Any, Callable

ATTACKS: dict[str, Callable[[dict[str, Any]], tuple[bool | None, str]]] = {}
SECONDS = 6
"""How long one attack may take."""

telling = -1
"""In the process of an attack, where it tells what it got."""

_libc = ctypes.CDLL(None, use_errno=True)
_SYSTEM = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
_NUMBERS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "personality": (135, 92),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "syslog": (103, 116),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "open_tree": (428, 428),
    "clone3": (435, 435),
}


def attack(name: str) -> Callable[[Any], Any]:
    """Put a function into the list, under the name that it has in the catalog."""

    def take(function: Any) -> Any:
        ATTACKS[name] = function
        return function

    return take


def call(name: str, *arguments: Any) -> int:
    """One system call, its error an OSError."""
    if _SYSTEM is None:
        raise OSError(errno.ENOSYS, "the numbers of this machine's system calls are not known")
    _libc.syscall.restype = ctypes.c_long
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    found = int(_libc.syscall(ctypes.c_long(_NUMBERS[name][_SYSTEM]), *words))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


def reads(*paths: str) -> tuple[bool | None, str]:
    """Whether any of these can be opened to be read, or listed."""
    said = "there is none of them"
    for path in paths:
        try:
            if os.path.isdir(path):
                os.listdir(path)
            else:
                with open(path, "rb") as file:
                    file.read(16)
        except OSError as error:
            said = word(error)
        else:
            return True, f"read {os.path.basename(path)}"
    return False, said


def first(tries: dict[str, Callable[[], Any]]) -> tuple[bool | None, str]:
    """The first of several ways that leads anywhere: one that returns False or raises OSError leads nowhere."""
    said = "nothing to try"
    for name, act in tries.items():
        try:
            if act() is False:
                said = f"{name}: no"
                continue
        except OSError as error:
            said = f"{name}: {word(error)}"
        else:
            return True, name
    return False, said


def word(error: OSError) -> str:
    """The kernel's name for an error."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def tried(name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Try one attack in a process of its own, which may be killed for it; the document that is told of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        global telling
        telling = writing
        os.close(reading)
        signal.alarm(SECONDS)
        try:
            got, said = ATTACKS[name](plan)
        except OSError as error:
            got, said = False, word(error)
        except MemoryError:
            got, said = False, "no more memory"
        except BaseException as error:  # noqa: BLE001  # told, and no traceback into the next attack's line
            got, said = None, f"could not be tried: {type(error).__name__}: {error}"
        os.write(writing, json.dumps({"attack": name, "got": got, "said": said}).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        text = file.read()
    status = os.waitpid(pid, 0)[1]
    if text:
        return dict(json.loads(text))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return {"attack": name, "got": False, "said": f"nothing came of it in {SECONDS} seconds"}
    return {"attack": name, "got": False, "said": f"killed, status {status}"}


def tell(document: dict[str, Any]) -> None:
    """One line of what the run reports."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
