"""The filter's table: what its program answers on both machines, and what the kernel says to each call for real."""

import ctypes
import errno
import mmap
import os
import platform
import re
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox import filter as filters
from executor.sandbox.filter import bpf, calls
from executor.sandbox.filter.calls import Rule
from tests.executor.sandbox.filter.machine import answer, filtered, forked, libc, system_call

RUNGS = ("landlock", "namespace")
NETWORKS = ("full", "none")
UNIX = ("judged", "refused")
MACHINES = tuple(bpf.ARCHITECTURES)
HERE = platform.machine()
LINES = {line.name: line for line in calls.program_of("landlock", "full", "judged")}
EVERY = [(rung, network, unix) for rung in RUNGS for network in NETWORKS for unix in UNIX]
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
# Newer than many installed headers.
NEW = {"open_tree_attr"}
# The lines whose answer depends on arguments, each with arguments that pass and that do not; `only` at one rung.
CONDITIONS: dict[str, tuple[list[tuple[int, ...]], list[tuple[int, ...]]]] = {
    "unshare": ([(0x400,), (0x200,)], [(0x10000000,), (0x20000,), (0x80,), (0x40000400,)]),
    "clone": ([(0x11,), (0x3D0F00,), (0x80 | 0x11,)], [(0x10000011,), (0x20000000,), (0x02000011,), (0x40020011,)]),
    "ioctl": ([(0, 0x5401), (3, 0x5413)], [(0, 0x5412), (0, 0x541C), (0, 0xDEAD00005412)]),
    "personality": ([(0,), (0xFFFFFFFF,), (8,), (0x40000,), (0x60008,)], [(0x400000,), (0x100000,), (0x500000,)]),
}
AT_LANDLOCK = {
    "prlimit64": ([(0, 7), (1 << 40, 7)], [(1,), (4711,), (0xFFFFFFFF,)]),
    "setpriority": ([(0, 0, 5), (1, 0, 5)], [(0, 1, 5), (1, 9, 5), (2, 0, 19), (2, 33, 5)]),
    "ioprio_set": ([(1, 0, 5), (2, 0, 5)], [(1, 1, 5), (2, 9, 5), (3, 0, 5)]),
    **{
        name: ([(0,)], [(1,), (4711,)])
        for name in ("sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr")
    },
    **{name: ([(0,)], [(1,), (4711,)]) for name in ("migrate_pages", "move_pages")},
}
SOCKETS = {"socket", "socketpair", "connect"}


@pytest.mark.parametrize("machine", MACHINES)
def test_every_line_answers_as_it_says(machine: str) -> None:
    """Of both machines, at both rungs, whatever network and unix sockets: interpreted, so that arm64 is seen here."""
    for rung, network, unix in EVERY:
        program = filters.program(rung, network, unix, machine)
        for line in LINES.values():
            number = getattr(line, machine)
            if number is None or line.name in SOCKETS:
                continue
            conditions = CONDITIONS | (AT_LANDLOCK if rung == "landlock" else {})
            said = {answer(program, number, *given, architecture=machine) for given in ((0,) * 6, (9,) * 6)}
            if (rule := line.namespace if rung == "namespace" else line.landlock) is None:
                assert said == {"allow"}, (rung, line)
            elif line.name in conditions:
                passes, fails = conditions[line.name]
                assert [answer(program, number, *given, architecture=machine) for given in passes] == ["allow"] * len(
                    passes
                )
                assert {answer(program, number, *given, architecture=machine) for given in fails} == {said_of(rule)}
            else:
                assert said == {errno.errorcode[rule.error]} and not rule.passes, (rung, line)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_the_table_does_not_name_is_allowed(machine: str) -> None:
    """It refuses what is known to do harm: programs of tomorrow go on."""
    named = {getattr(line, machine) for line in LINES.values()}
    for rung, network, unix in EVERY:
        program = filters.program(rung, network, unix, machine)
        others = [number for number in range(600) if number not in named]
        assert {answer(program, number, *[1] * 6, architecture=machine) for number in others} == {"allow"}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_are_killed(machine: str) -> None:
    """Their numbers mean other calls. A call that a debugger has taken out has none, and does nothing."""
    for rung in RUNGS:
        program = filters.program(rung, "full", "judged", machine)
        for foreign in (0x40000003, 0x40000028, 0xC000003E ^ 0xC00000B7 ^ bpf.ARCHITECTURES[machine]):
            assert answer(program, 0, architecture=machine, machine=foreign) == "kill"
        x32 = {answer(program, 0x40000000 + number, architecture=machine) for number in (0, 101, 520)}
        assert x32 == ({"kill"} if machine == "x86_64" else {"allow"})
        assert answer(program, -1, architecture=machine) == "allow"


STREAM, DATAGRAM, RAW, SEQUENCED, PACKET = 1, 2, 3, 5, 10
FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
INTERNET = [
    (family, kind, protocol)
    for family, protocols in ((2, (0, 1, 6, 17, 262)), (10, (0, 58)))
    for kind in (STREAM, DATAGRAM, STREAM | FLAGS)
    for protocol in protocols
]
NEVER = [
    *[(family, kind, 0) for family in range(46) if family not in (1, 2, 10, 16) for kind in (1, 2, 3, 5, 10)],
    *[(2, kind, protocol) for kind in (RAW, SEQUENCED, PACKET, RAW | FLAGS) for protocol in (0, 255)],
    *[(2, STREAM, 132), (2, DATAGRAM, 136), (2, STREAM, 256), (16, RAW, 4), (16, RAW, 9), (16, DATAGRAM, 15)],
]
LOCAL = [(1, STREAM, 0), (1, SEQUENCED, 0), (1, STREAM | FLAGS, 0)]
DATAGRAMS = [(1, DATAGRAM, 0), (1, RAW, 0), (1, DATAGRAM | FLAGS, 0)]
ROUTE = [(16, RAW, 0), (16, DATAGRAM | FLAGS, 0)]


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_pass_by_a_list_of_what_programs_need(machine: str) -> None:
    """Raw, packet, vsock and all the rest are on none; internet and unix sockets as the run is given them."""
    for rung, network, unix in EVERY:
        program = filters.program(rung, network, unix, machine)
        apart, call = rung == "namespace", getattr(LINES["socket"], machine)

        def passing(kinds: list[tuple[int, ...]], number: int = call, program: bytes = program) -> set[bool]:
            return {answer(program, number, *kind, architecture=machine) == "allow" for kind in kinds}

        assert passing(NEVER) == {False}
        assert passing(ROUTE) == {True}
        assert passing(INTERNET) == {apart or network == "full"}
        assert passing(LOCAL) == {apart or unix == "judged"}
        assert passing(DATAGRAMS) == {apart}
        pair = getattr(LINES["socketpair"], machine)
        assert (passing(LOCAL, pair), passing(DATAGRAMS, pair)) == ({True}, {apart})
        assert passing([(2, 1, 0), (40, 1, 0), (30, 1, 0)], pair) == {False}
        connects = answer(program, getattr(LINES["connect"], machine), 3, 9, 16, architecture=machine)
        assert connects == ("notify" if not apart and unix == "judged" else "allow")


def test_each_line_has_its_reason_and_stands_once() -> None:
    """A table that is read by people."""
    for rung, network, unix in EVERY:
        table = calls.program_of(rung, network, unix)
        for machine in MACHINES:
            numbers = [getattr(line, machine) for line in table if getattr(line, machine) is not None]
            assert len(numbers) == len(set(numbers))
        assert all(line.why and len(line.why) < 100 for line in table)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    """As its own headers have them, where they are installed."""
    if not HEADERS[machine].exists():
        pytest.skip("no kernel headers: apt-get install linux-libc-dev")
    text = HEADERS[machine].read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    for line in LINES.values():
        if line.name not in NEW or line.name in known:
            assert getattr(line, machine) == known.get(line.name), line.name


def test_a_machine_without_a_table_has_no_filter() -> None:
    """Numbers of another machine would refuse the wrong calls."""
    with pytest.raises(OSError, match="not implemented"):
        filters.program("landlock", "full", "judged", "riscv64")


# For real ----------------------------------------------------------------------------------------------------------

here = pytest.mark.skipif(HERE not in MACHINES, reason="no table for this machine")
AT_FDCWD = -100


def number(name: str) -> int:
    return int(getattr(LINES[name], HERE))


def attempts(other: int) -> dict[str, tuple[Any, ...]]:
    """Arguments with which each refused call does no harm, and gets an answer of its own without the filter."""
    return {
        "keyctl": (0, -3, 0),
        "add_key": (None, None, None, 0, 0),
        "request_key": (None, None, None, 0),
        "io_uring_setup": (0, None),
        "io_uring_enter": (-1, 0, 0, 0, None, 0),
        "io_uring_register": (-1, 0, None, 0),
        "bpf": (-1, None, 0),
        "perf_event_open": (None, 0, -1, -1, 0),
        "userfaultfd": (-1,),
        "mount": (None, None, None, 0, None),
        "umount2": (None, -1),
        "pivot_root": (None, None),
        "chroot": (None,),
        "open_tree": (AT_FDCWD, None, -1),
        "move_mount": (-1, None, -1, None, -1),
        "fsopen": (None, -1),
        "fsconfig": (-1, 0, None, None, 0),
        "fsmount": (-1, -1, 0),
        "fspick": (AT_FDCWD, None, -1),
        "mount_setattr": (-1, None, -1, None, 0),
        "open_tree_attr": (-1, None, -1, None, 0),
        "setns": (-1, 0),
        "clone3": (None, 0),
        "init_module": (None, 0, None),
        "finit_module": (-1, None, -1),
        "delete_module": (None, 0),
        "kexec_load": (0, 0, None, 0xFFFF),
        "kexec_file_load": (-1, -1, 0, None, 0xFFFF),
        "reboot": (0, 0, 0, None),
        "swapon": (None, -1),
        "swapoff": (None,),
        "acct": (1,),
        "quotactl": (-1, None, 0, None),
        "quotactl_fd": (-1, 0, 0, None),
        "settimeofday": (1, None),
        "clock_settime": (-1, None),
        "sethostname": (None, -1),
        "setdomainname": (None, -1),
        "syslog": (-1, None, 0),
        "iopl": (9,),
        "ioperm": (0, 0, 0),
        "open_by_handle_at": (-1, None, 0),
        "pidfd_getfd": (-1, 0, 0),
        "process_madvise": (-1, None, 0, 0, 0),
        "process_mrelease": (-1, 0),
        "kcmp": (other, other, 1, 0, 0),
        "prlimit64": (other, 7, None, None),
        "setpriority": (0, other, 19),
        "ioprio_set": (1, other, 0),
        "sched_setparam": (other, None),
        "sched_setscheduler": (other, 0, None),
        "sched_setaffinity": (other, 8, ctypes.create_string_buffer(b"\xff" * 8)),
        "sched_setattr": (other, None, 0),
        "migrate_pages": (other, 0, None, None),
        "move_pages": (other, 0, None, None, None, 0),
    }


@here
@pytest.mark.parametrize("rung", RUNGS)
def test_the_kernel_refuses_each_line_for_real(rung: str) -> None:
    """In a fork under the filter, and beside it in one without, where another answer comes or the call goes through."""
    other = os.fork()
    if other == 0:
        signal.pause()
        os._exit(0)
    try:
        tried = attempts(other)
        assert set(tried) == {name for name in LINES if name not in {*CONDITIONS, *SOCKETS} and number_of(name)}

        def look() -> dict[str, str]:
            return {name: system_call(number(name), *given) for name, given in tried.items()}

        said, free = forked(look, filtered(rung)), forked(look)
        for name, answered in said.items():
            line = LINES[name]
            rule = line.namespace if rung == "namespace" else line.landlock
            if rule is None:
                assert answered == free[name], name
            else:
                assert answered == said_of(rule), name
        if os.geteuid() == 0 and free["keyctl"] != "EPERM":
            # Without capabilities the kernel says the same to some; as root it does not, so the filter's word is seen.
            same = {name for name in said if said[name] == free[name] and LINES[name].namespace is not None}
            assert same <= {"open_tree_attr"}, free
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def said_of(rule: Rule) -> str:
    """The error of a rule that refuses; `yes` of the one that only seems to do what it is asked."""
    return errno.errorcode[rule.error] if rule.error else "yes"


def number_of(name: str) -> int | None:
    found: int | None = getattr(LINES[name], HERE)
    return found


@here
@pytest.mark.parametrize("rung", RUNGS)
def test_conditions_hold_for_real(rung: str) -> None:
    """Namespaces, other processes and the terminal's input are closed, and what every program does goes on."""

    def look() -> dict[str, str]:
        me = os.getpid()
        thread: list[str] = []
        worker = threading.Thread(target=lambda: thread.append("ran"))
        worker.start()
        worker.join()
        return {
            "user namespace": system_call(number("unshare"), 0x10000000),
            "own files": system_call(number("unshare"), 0x400),
            "clone into one": str(_cloned(0x10000000 | signal.SIGCHLD)),
            "fork": str(_cloned(signal.SIGCHLD)),
            "thread": thread[0],
            "terminal": system_call(number("ioctl"), 0, 0x5412, b"x"),
            "terminal, by more bits than there are": system_call(number("ioctl"), 0, ctypes.c_ulong(0xF00005412), b"x"),
            "no addresses at random": system_call(number("personality"), 0x40000),
            "readable is executable": system_call(number("personality"), 0x400000),
            "own limit": str(resource.prlimit(0, resource.RLIMIT_NOFILE) and "yes"),
            "by number": system_call(number("prlimit64"), me, 7, None, None),
            "nicer": system_call(number("setpriority"), 0, 0, 19),
            "its whole user": system_call(number("setpriority"), 2, 0, 19),
            "own processors": system_call(number("sched_setaffinity"), 0, 8, ctypes.create_string_buffer(b"\xff" * 8)),
        }

    said = forked(look, filtered(rung))
    below = "yes" if rung == "namespace" else "EPERM"
    assert said == {
        "user namespace": "EPERM",
        "own files": "yes",
        "clone into one": "EPERM",
        "fork": "yes",
        "thread": "ran",
        "terminal": "EPERM",
        "terminal, by more bits than there are": "EPERM",
        "no addresses at random": "yes",
        "readable is executable": "EPERM",
        "own limit": "yes",
        "by number": below,
        "nicer": "yes",
        "its whole user": below,
        "own processors": "yes",
    }
    free = forked(look)
    changed = {name for name in said if free[name] != said[name]}
    assert changed >= {"readable is executable", *(["by number", "its whole user"] if rung == "landlock" else [])}


def _cloned(flags: int) -> str:
    pid = libc.syscall(number("clone"), flags, None, None, None, None)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        return errno.errorcode[ctypes.get_errno()]
    os.waitpid(pid, 0)
    return "yes"


@here
def test_sockets_for_real() -> None:
    """Each kind with its control: what the kernel of this machine gives without the filter."""
    kinds = {
        "tcp": (2, STREAM, 0),
        "udp": (2, DATAGRAM, 0),
        "tcp 6": (10, STREAM, 0),
        "raw": (2, RAW, 1),
        "packet": (17, RAW, 0),
        "vsock": (40, STREAM, 0),
        "crypto": (38, SEQUENCED, 0),
        "route": (16, RAW, 0),
        "diagnosis": (16, RAW, 4),
        "unix": (1, STREAM, 0),
        "unix datagrams": (1, DATAGRAM, 0),
    }

    def look() -> dict[str, str]:
        said = {name: _opened(lambda kind=kind: socket.socket(*kind)) for name, kind in kinds.items()}
        said["pair"] = _opened(lambda: socket.socketpair())
        said["pair of datagrams"] = _opened(lambda: socket.socketpair(type=DATAGRAM))
        return said

    free = forked(look)
    assert {free[name] for name in ("tcp", "udp", "route", "diagnosis", "unix", "unix datagrams")} == {"yes"}
    passes = {
        ("namespace", "full"): {"tcp", "udp", "tcp 6", "route", "unix", "unix datagrams", "pair", "pair of datagrams"},
        ("landlock", "full"): {"tcp", "udp", "tcp 6", "route", "pair"},
        ("landlock", "none"): {"route", "pair"},
    }
    for (rung, network), expected in passes.items():
        said = forked(look, filtered(rung, network))
        assert {name for name in said if said[name] == "yes"} == {name for name in expected if free[name] == "yes"}
        assert {said[name] for name in said if name not in expected} <= {"EACCES", "EAFNOSUPPORT"}


def _opened(make: Callable[[], Any]) -> str:
    try:
        made = make()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    for one in made if isinstance(made, tuple) else (made,):
        one.close()
    return "yes"


@pytest.mark.skipif(HERE != "x86_64", reason="x32 is x86-64's")
def test_a_call_by_the_x32_door_ends_the_process() -> None:
    """Such a call of prlimit would pass by a number that no line has."""
    assert forked(lambda: system_call(0x40000000 + 102), filtered("landlock")) == "killed by SIGSYS"
    assert forked(lambda: system_call(0x40000000 + 102)) in ("ENOSYS", "yes")


@pytest.mark.skipif(HERE != "x86_64", reason="32-bit calls are x86-64's")
def test_a_call_by_the_32_bit_door_ends_the_process() -> None:
    """There 20 is getpid, and 75 sets limits: numbers that mean other calls here."""

    def look() -> bool:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
        start = ctypes.addressof(ctypes.c_char.from_buffer(code))
        return bool(ctypes.CFUNCTYPE(ctypes.c_int)(start)() == os.getpid())

    if forked(look) is not True:
        pytest.skip("this kernel takes no 32-bit calls")
    assert forked(look, filtered("landlock")) == "killed by SIGSYS"
