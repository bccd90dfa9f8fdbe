"""A fork into new namespaces, and what is set up in them before anything else.

Sources: clone(2), user_namespaces(7), pid_namespaces(7), netdevice(7).
"""

import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct

from executor.sandbox import kernel

NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

_CLONE = {"x86_64": 56, "aarch64": 220}
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFF_RUNNING = 0x40

_libc = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, which a forked child must find held


def clone(flags: int) -> int:
    """Fork into new namespaces; 0 in the child, as of fork(2).

    The C library does not see this fork, so its idea of the child's thread id is stale: the child makes system calls,
    and whatever is to live on in it is forked once more, by os.fork, which repairs it.

    Raises:
        OSError: the kernel, or this machine's policy, refuses one of them.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(_CLONE[platform.machine()], ctypes.c_ulong(flags | signal.SIGCHLD), 0, 0, 0, 0))
    number = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number), "clone")
    return pid


def map_user(uid: int, gid: int) -> None:
    """Give this process's new user namespace the one user and group that it has outside.

    /proc/self belongs to root as long as a process is not dumpable, so it is so for this moment, in which it holds
    nothing.
    """
    kernel.set_dumpable(True)
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            handle = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
    finally:
        kernel.set_dumpable(False)


def allow_no_more(proc: str) -> None:
    """Have the kernel make no further user namespace below this process's own; `proc` is where its /proc is."""
    with open(f"{proc}/sys/user/max_user_namespaces", "w") as limit:
        limit.write("0")


def loopback_up() -> None:
    """Let processes of this network namespace reach each other over 127.0.0.1 and ::1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP | _IFF_RUNNING))
