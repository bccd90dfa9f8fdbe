"""Other processes: those of the worker's user that are no business of the run, and the worker's own."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from typing import Any, Callable

from .kit import attack, call, first, reads

Plan = dict[str, Any]
Got = tuple  # of a verdict and how
PTRACE_SEIZE, IOPRIO_WHO_PROCESS, IDLE_CLASS = 0x4206, 1, 3 << 13
READ = 64


def theirs(plan: Plan, pid: int) -> int:
    """The process that is meant. In a list of processes of its own the run may have another of that number."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            started = file.read().rpartition(")")[2].split()[19]
    except OSError:
        return pid
    if started != plan["starts"][str(pid)]:
        raise ProcessLookupError(errno.ESRCH, "another process has this number here")
    return pid


def victim(plan: Plan, name: str = "touch") -> int:
    return theirs(plan, plan["victims"][name])


@attack("environ")
def environ(plan: Plan) -> Got:
    return reads(f"/proc/{victim(plan)}/environ")


@attack("memory")
def memory(plan: Plan) -> Got:
    pid, address = theirs(plan, plan["pid"]), plan["address"]

    def by_file() -> bool:
        with open(f"/proc/{pid}/mem", "rb", 0) as file:
            file.seek(address)
            return plan["token"].encode() in file.read(READ)

    return first({"/proc/PID/mem": by_file, "process_vm_readv": lambda: vm_read(pid, address)})


def vm_read(pid: int, address: int) -> int:
    buffer = ctypes.create_string_buffer(READ)
    ours = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), READ)
    theirs = (ctypes.c_size_t * 2)(address, READ)
    return call("process_vm_readv", pid, ours, 1, theirs, 1, 0)


@attack("descriptors")
def descriptors(plan: Plan) -> Got:
    pid = victim(plan)
    links = {name: lambda name=name: os.readlink(f"/proc/{pid}/{name}") for name in ("cwd", "root", "exe", "fd/0")}
    return first({**links, "through its root": lambda: os.listdir(f"/proc/{pid}/root{plan['folders']['user']}")})


@attack("command-lines")
def command_lines(plan: Plan) -> Got:
    def seen() -> bool:
        with open(f"/proc/{theirs(plan, plan['pid'])}/cmdline", "rb") as file:
            return plan["token"].encode() in file.read()

    return first({"read the command line of another": seen})


@attack("ptrace")
def ptrace(plan: Plan) -> Got:
    return first({"seized": lambda: call("ptrace", PTRACE_SEIZE, victim(plan), 0, 0)})


@attack("steal-descriptors")
def steal(plan: Plan) -> Got:
    def taken() -> int:
        return call("pidfd_getfd", call("pidfd_open", theirs(plan, plan["pid"]), 0), 0, 0)

    return first({"pidfd_getfd": taken})


@attack("signals")
def signals(plan: Plan) -> Got:
    return first({"killed it": lambda: os.kill(victim(plan, "kill"), signal.SIGKILL)})


@attack("limits-of-others")
def limits(plan: Plan) -> Got:
    pid = victim(plan)
    return first({"set": lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (63, 63))})


@attack("priority-of-others")
def priority(plan: Plan) -> Got:
    pid = victim(plan)
    ways: dict[str, Callable[[], Any]] = {
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
        "affinity": lambda: os.sched_setaffinity(pid, [min(os.sched_getaffinity(0))]),
        "scheduler": lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
        "io priority": lambda: call("ioprio_set", IOPRIO_WHO_PROCESS, pid, IDLE_CLASS),
    }
    # All of them: the other may be as slow already as one would make it.
    tried = [first({way: act}) for way, act in ways.items()]
    return max(tried)


def not_here(plan: Plan, pid: int) -> bool:
    try:
        theirs(plan, pid)
    except ProcessLookupError:
        return True
    return False


@attack("worker")
def worker(plan: Plan) -> Got:
    """Nothing is done to them: a signal that is none, a limit that they have, an attempt to look."""
    ways: dict[str, Callable[[], Any]] = {}
    for name, pid in (*plan["ours"].items(), ("supervisor", plan["supervisor"])):
        if pid <= 1 or (name in plan["ours"] and not_here(plan, pid)):
            continue
        ways[f"the {name}'s environment"] = lambda pid=pid: open(f"/proc/{pid}/environ", "rb").close()
        ways[f"the {name}'s memory"] = lambda pid=pid: open(f"/proc/{pid}/mem", "rb").close()
        ways[f"the {name}'s descriptors"] = lambda pid=pid: os.readlink(f"/proc/{pid}/fd/0")
        ways[f"a signal to the {name}"] = lambda pid=pid: os.kill(pid, 0)
        ways[f"a limit of the {name}"] = lambda pid=pid: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        ways[f"the {name}'s nice value"] = lambda pid=pid: os.setpriority(
            os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)
        )
    return first(ways)


@attack("daemon")
def daemon(plan: Plan) -> Got:
    """What is left behind is told by its command line, from outside."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.closerange(3, 256)
            signal.alarm(120)
            signal.pause()
        os._exit(0)
    return False, "left one behind"
