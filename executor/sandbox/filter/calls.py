"""The table of the filter: which system call is refused to a run, and why. What it does not name is allowed.

Sources of the numbers: asm/unistd_64.h (x86-64) and asm-generic/unistd.h (arm64); None where a machine lacks the call.
Capabilities and set-user-id programs have no lines: without new privileges and capabilities they do nothing.
"""

import errno
from dataclasses import dataclass

NOTIFY = 0x7FC00000
ALLOW = 0x7FFF0000
ERRNO = 0x00050000


@dataclass(frozen=True)
class Only:
    """A condition on the lower half of one argument, which is all of it that the kernel takes of an `int`.

    It holds if the argument, as far as `mask` goes, is one of `values`; `other`: if it is none of them.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    other: bool = False


@dataclass(frozen=True)
class Rule:
    """A call passes if all conditions of one of the alternatives hold, else it fails with `error`."""

    error: int = errno.EPERM
    passes: tuple[tuple[Only, ...], ...] = ()
    outcome: int = ALLOW


@dataclass(frozen=True)
class Call:
    """One line: the call's numbers on x86-64 and arm64, its rule at rung `namespace` and at `landlock`, the reason."""

    name: str
    x86_64: int | None
    aarch64: int | None
    namespace: Rule | None
    landlock: Rule | None
    why: str


def program_of(rung: str, network: str, unix: str) -> tuple[Call, ...]:
    """Return every line of a rung, with those of sockets as network and unix sockets are given."""
    return (*_EVERYWHERE, *_OTHERS, *_sockets(rung, network, unix))


REFUSED = Rule()
ABSENT = Rule(errno.ENOSYS)

# The process that calls, by a zero where its id would be. One that names itself by its number is refused, too: a filter
# does not know who calls.
_OWN = Rule(passes=((Only(0, (0,)),),))
# As well its process group (1), but never all processes of its user (2, and 3 of ioprio_set), which others share.
_OWN_PRIORITY = Rule(passes=((Only(0, (0, 1)), Only(1, (0,))),))
_OWN_IO_PRIORITY = Rule(passes=((Only(0, (1, 2)), Only(1, (0,))),))

_NEW_NAMESPACES = 0x7E020000  # user, mount, pid, network, ipc, uts, cgroup
_NEW_TIME = 0x80  # of unshare alone: in clone's flags these bits are a signal's number
_PERSONALITIES = 0x8 | 0x20000 | 0x40000  # 32-bit uname, an old kernel's uname, addresses as they come (debuggers)
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM, _SEQUENCED = 1, 2, 5
_TYPE = 0xF  # the rest of a socket's type are flags
_PROTOCOLS = (0, 1, 6, 17, 58, 262)  # default, ICMP echo, TCP, UDP, ICMPv6 echo, MPTCP
_NETLINK_ROUTE = 0


def _both(name: str, x86_64: int | None, aarch64: int | None, rule: Rule, why: str) -> Call:
    return Call(name, x86_64, aarch64, rule, rule, why)


def _below(name: str, x86_64: int, aarch64: int, rule: Rule, why: str) -> Call:
    """At `namespace` the pid namespace keeps others out, so that debuggers and pinned threads go on."""
    return Call(name, x86_64, aarch64, None, rule, why)


_EVERYWHERE = (
    _both("keyctl", 250, 219, REFUSED, "keyrings of the same user hold others' keys"),
    _both("add_key", 248, 217, REFUSED, "keyrings outlive the run and use up the user's quota"),
    _both("request_key", 249, 218, REFUSED, "starts a program of the machine's to fetch a key"),
    _both("io_uring_setup", 425, 425, REFUSED, "its operations pass no filter"),
    _both("io_uring_enter", 426, 426, REFUSED, "as io_uring_setup"),
    _both("io_uring_register", 427, 427, REFUSED, "as io_uring_setup"),
    _both("bpf", 321, 280, REFUSED, "programs and maps in the kernel"),
    _both("perf_event_open", 298, 241, REFUSED, "measures other processes and the kernel"),
    _both("userfaultfd", 323, 282, REFUSED, "stops the kernel in the middle of a copy"),
    _both("mount", 165, 40, REFUSED, "what is seen stays as it was made"),
    _both("umount2", 166, 39, REFUSED, "as mount: what lies below must stay covered"),
    _both("pivot_root", 155, 41, REFUSED, "as mount"),
    _both("chroot", 161, 51, REFUSED, "as mount"),
    _both("open_tree", 428, 428, REFUSED, "as mount"),
    _both("move_mount", 429, 429, REFUSED, "as mount"),
    _both("fsopen", 430, 430, REFUSED, "as mount"),
    _both("fsconfig", 431, 431, REFUSED, "as mount"),
    _both("fsmount", 432, 432, REFUSED, "as mount"),
    _both("fspick", 433, 433, REFUSED, "as mount"),
    _both("mount_setattr", 442, 442, REFUSED, "as mount"),
    _both("open_tree_attr", 467, 467, REFUSED, "as mount"),
    _both(
        "unshare",
        272,
        97,
        Rule(passes=((Only(0, (0,), _NEW_NAMESPACES | _NEW_TIME),),)),
        "a user namespace gives capabilities, and with them most of the kernel",
    ),
    _both("setns", 308, 268, REFUSED, "as unshare"),
    _both("clone", 56, 220, Rule(passes=((Only(0, (0,), _NEW_NAMESPACES),),)), "as unshare; threads and forks pass"),
    _both("clone3", 435, 435, ABSENT, "its flags lie in memory, out of a filter's sight; libraries then take clone"),
    _both("init_module", 175, 105, REFUSED, "code in the kernel"),
    _both("finit_module", 313, 273, REFUSED, "code in the kernel"),
    _both("delete_module", 176, 106, REFUSED, "code in the kernel"),
    _both("kexec_load", 246, 104, REFUSED, "another kernel"),
    _both("kexec_file_load", 320, 294, REFUSED, "another kernel"),
    _both("reboot", 169, 142, REFUSED, "the machine is everybody's"),
    _both("swapon", 167, 224, REFUSED, "the machine's memory is everybody's"),
    _both("swapoff", 168, 225, REFUSED, "as swapon"),
    _both("acct", 163, 89, REFUSED, "writes down everybody's processes"),
    _both("quotactl", 179, 60, REFUSED, "others' quotas"),
    _both("quotactl_fd", 443, 443, REFUSED, "others' quotas"),
    _both("settimeofday", 164, 170, REFUSED, "the clock is everybody's"),
    _both("clock_settime", 227, 112, REFUSED, "the clock is everybody's"),
    _both("sethostname", 170, 161, REFUSED, "the name is everybody's"),
    _both("setdomainname", 171, 162, REFUSED, "the name is everybody's"),
    _both("syslog", 103, 116, REFUSED, "the kernel's log tells of others"),
    _both("iopl", 172, None, REFUSED, "devices' ports"),
    _both("ioperm", 173, None, REFUSED, "devices' ports"),
    _both("open_by_handle_at", 304, 265, REFUSED, "opens files past every folder"),
    _both("pidfd_getfd", 438, 438, REFUSED, "takes descriptors out of other processes, connected sockets among them"),
    _both(
        "ioctl",
        16,
        29,
        Rule(passes=((Only(1, (_TIOCSTI, _TIOCLINUX), other=True),),)),
        "types into the terminal that the worker was started from",
    ),
    _both(
        "personality",
        135,
        92,
        Rule(passes=((Only(0, (0,), ~_PERSONALITIES & 0xFFFFFFFF),), (Only(0, (0xFFFFFFFF,)),))),
        "the odd ones (memory at zero, readable means executable) ease attacks; asking and gdb's pass",
    ),
)

_OTHERS = (
    _below("prlimit64", 302, 261, _OWN, "ends others by a limit; `prlimit --pid` fails for the run's own, too"),
    _below("setpriority", 141, 140, _OWN_PRIORITY, "slows others down; `renice` of its own processes fails, too"),
    _below("ioprio_set", 251, 30, _OWN_IO_PRIORITY, "slows others down; `ionice -p` of its own fails, too"),
    _below("sched_setparam", 142, 118, _OWN, "priorities of others; of its own threads from another one, too"),
    # Told to be done where it is not: ZeroMQ, and so every Jupyter kernel, ends where its own threads are refused it.
    _below(
        "sched_setscheduler", 144, 119, Rule(0, ((Only(0, (0,)),),)), "as sched_setparam; `chrt -p` changes nothing"
    ),
    _below("sched_setaffinity", 203, 122, _OWN, "processors of others; pinning a thread from another one fails, too"),
    _below("sched_setattr", 314, 274, _OWN, "as sched_setparam"),
    _below("migrate_pages", 256, 238, _OWN, "moves others' memory"),
    _below("move_pages", 279, 239, _OWN, "moves others' memory, and tells where it lies"),
    _below("process_madvise", 440, 440, REFUSED, "pushes others' memory out; has no form for the caller before 6.13"),
    _below("process_mrelease", 448, 448, REFUSED, "frees a dying process's memory: the kernel does so anyway"),
    _below("kcmp", 312, 272, REFUSED, "compares what others hold"),
)


def _sockets(rung: str, network: str, unix: str) -> tuple[Call, ...]:
    """Sockets by family, as a list of what passes: packet, vsock, raw, bluetooth and crypto sockets are not on it."""
    apart = rung == "namespace"  # a network namespace or the own root keep others' sockets out
    route = (Only(0, (_NETLINK,)), Only(2, (_NETLINK_ROUTE,)))
    internet = (Only(0, (_INET, _INET6)), Only(1, (_STREAM, _DATAGRAM), _TYPE), Only(2, _PROTOCOLS))
    local: tuple[Only, ...] = (Only(0, (_UNIX,)),)
    if not apart:
        # A datagram names its receiver each time, in memory: not judged, so not given. A connection is judged once.
        local = (*local, Only(1, (_STREAM, _SEQUENCED), _TYPE))
    passes: list[tuple[Only, ...]] = [route]
    if apart or network != "none":
        passes.append(internet)
    if apart or unix != "refused":
        passes.append(local)
    absent = errno.EACCES if not apart else errno.EAFNOSUPPORT
    lines = [
        _both("socket", 41, 198, Rule(absent, tuple(passes)), "families and kinds that programs need, and no others"),
        _both("socketpair", 53, 199, Rule(absent, (local,)), "as socket; a datagram one could be sent elsewhere"),
    ]
    if not apart and unix == "judged":
        notified = Rule(passes=((),), outcome=NOTIFY)
        lines.append(_both("connect", 42, 203, notified, "a unix socket of others takes commands; see judge"))
    return tuple(lines)
