"""Which controls stand against which attack, at each rung and for each user, and the copies that show it.

An attack stands below each set of controls that is enough: with all of a set taken out it gets what it is after, and
with a part of it, and of no other set, it does not. Where there are several in a set they stand behind each other.
"""

import errno
import os
import resource
import shutil
import socket
from collections.abc import Callable

from executor.conformance.attacks import kit
from executor.conformance.catalog import NAMESPACE
from tests.sandbox.controls import CONTAINER

UID = "a user id of its own"
CAPABILITIES = "no capabilities"
PRIVILEGES = "no new privileges"
CORES = "no core files"
DESCRIPTORS = "descriptors closed, and not inherited"
RESULT = "bounds of a result"
OUTPUT = "the output limit"
COLLECTED = "only what belongs to the run is collected"
LIMITS = "limits by group, rlimit and looks"
END = "the end of the tree, by group and by kills"
RULES = "Landlock"
FILTER = "the filter"
SCOPES = "scopes"
FILES = "a root of its own"
LIST = "a process list of its own"
IDS = "process ids of its own"
IPC = "System V IPC of its own"
NETWORK = "a network of its own"
BOX = "all namespaces"
COVERS = "covers over sockets"
LOOK = "looks at what a socket's name leads to"
WAY = "the kernel's own way to it"

Layers = tuple[str, ...]

_SUPERVISORS: dict[Layers, str] = {
    (CORES,): "core-file",
    (DESCRIPTORS,): "forged-frames",
    (RESULT,): "deep-result",
    (OUTPUT,): "endless-line",
    (LIMITS,): "fork-bomb disk-filler memory-bomb",
}
_PATHS = "key-file workers-home other-run source-cache write-outside write-source preload"
_IN_PLACES = "unix-source unix-readable unix-writable"
_PRIVATE = "unix-elsewhere unix-datagram tmux ssh-agent"
_LOOKS = "environ memory descriptors ptrace"
_NONE = "none-loopback none-servers none-metadata none-names"
_IN_BOX: dict[Layers, str] = {
    (FILTER,): "io-uring perf userfaultfd keys-kept vsock",
    (SCOPES,): "unix-abstract",
    (NETWORK,): _NONE,
    (LIST,): "command-lines",
    (IPC,): "shared-memory",
    (COVERS,): "unix-readable unix-writable",
    (LOOK,): "covered",
    (WAY,): "starts",
    (PRIVILEGES, FILTER, SCOPES): "setuid",
}

AGAINST: dict[str, dict[Layers, str]] = {
    "process user": {
        **_SUPERVISORS,
        (CONTAINER,): "user-namespace mount pivot-root",
        (PRIVILEGES,): "setuid",
        (END,): "daemon",
    },
    "process root": {
        **_SUPERVISORS,
        (CONTAINER,): "user-namespace mount pivot-root",
        (PRIVILEGES,): "setuid",
        (END,): "daemon",
        (UID,): f"{_LOOKS} steal-descriptors signals limits-of-others priority-of-others worker {_PATHS} mode-outside"
        " write-system proc-sys devices file-handles bpf keyring kernel-code kernel-log raw-sockets terminal"
        f" {_PRIVATE}",
        (UID, CONTAINER): "setns",
        (UID, COLLECTED): "links",
    },
    "landlock user": {
        **_SUPERVISORS,
        (RULES,): f"{_LOOKS} signals worker links {_PATHS}",
        (FILTER,): "limits-of-others priority-of-others worker io-uring perf userfaultfd keyring keys-kept vsock"
        f" {_IN_PLACES} {_PRIVATE} none-loopback none-names",
        (CONTAINER, FILTER): "user-namespace mount pivot-root",
        (RULES, FILTER): "steal-descriptors unix-abstract none-servers none-metadata",
        (PRIVILEGES, RULES, FILTER): "setuid",
        (END,): "daemon",
    },
    "landlock root": {
        **_SUPERVISORS,
        (UID,): "mode-outside devices worker",
        (UID, RULES): f"{_LOOKS} signals {_PATHS} write-system proc-sys",
        (UID, RULES, COLLECTED): "links",
        (FILTER,): f"io-uring perf userfaultfd keys-kept vsock {_IN_PLACES} none-loopback none-names",
        (UID, FILTER): f"limits-of-others priority-of-others bpf keyring kernel-code kernel-log raw-sockets {_PRIVATE}",
        (CONTAINER, FILTER): "user-namespace mount pivot-root",
        (RULES, FILTER): "unix-abstract none-servers none-metadata",
        (UID, RULES, FILTER): "steal-descriptors file-handles terminal",
        (UID, RULES, FILTER, CONTAINER): "setns",
        (PRIVILEGES, RULES, FILTER): "setuid",
        (END,): "daemon",
    },
    "namespace user": {
        **_SUPERVISORS,
        **_IN_BOX,
        (COVERS,): "unix-readable unix-writable tmux ssh-agent",
        (FILES,): f"{_PATHS} mode-outside links {_IN_PLACES} {_PRIVATE} command-lines shared-memory",
        (BOX,): "limits-of-others priority-of-others worker",
        (BOX, SCOPES): f"{_LOOKS} signals",
        (BOX, SCOPES, FILTER): "steal-descriptors",
        (BOX, FILTER): "keyring user-namespace mount pivot-root",
        (BOX, END): "daemon",
    },
    "namespace root": {
        **_SUPERVISORS,
        **_IN_BOX,
        (FILTER,): f"{_IN_BOX[(FILTER,)]} user-namespace mount pivot-root",
        (FILES,): f"{_IN_PLACES} command-lines shared-memory",
        (FILES, UID): f"{_PATHS} mode-outside write-system proc-sys {_PRIVATE}",
        (FILES, UID, COLLECTED): "links",
        (FILES, UID, CAPABILITIES): "devices",
        (IDS, FILES, UID): "limits-of-others priority-of-others",
        (IDS, FILES, UID, SCOPES): "signals",
        (IDS, FILES, UID, CAPABILITIES): "worker",
        (IDS, FILES, UID, CAPABILITIES, SCOPES): _LOOKS,
        (IDS, FILES, UID, CAPABILITIES, SCOPES, FILTER): "steal-descriptors",
        (UID, FILTER): "keyring",
        (UID, CAPABILITIES, FILTER): "bpf kernel-code kernel-log raw-sockets file-handles",
        (FILES, UID, CAPABILITIES, FILTER): "setns terminal",
        (IDS, END): "daemon",
    },
}
"""What stands against each attack that is held, by rung and user."""

_OF_ALL = (PRIVILEGES, CORES, RESULT, OUTPUT, LIMITS, END)
_OF_BOX = (LIST, IPC, NETWORK, COVERS, FILTER, SCOPES, DESCRIPTORS)
COPIES: dict[str, list[Layers]] = {
    "process user": [(DESCRIPTORS,), _OF_ALL],
    "process root": [(UID, COLLECTED), (DESCRIPTORS,), _OF_ALL],
    "landlock user": [(RULES,), (FILTER, DESCRIPTORS), (RULES, FILTER, *_OF_ALL)],
    "landlock root": [(UID, RULES, COLLECTED), (UID, FILTER, DESCRIPTORS), (UID, RULES, FILTER, *_OF_ALL)],
    "namespace user": [(FILES,), _OF_BOX, (LOOK,), (WAY,), (BOX, SCOPES, FILTER, *_OF_ALL)],
    "namespace root": [
        (FILES, UID, CAPABILITIES, COLLECTED),
        _OF_BOX,
        (LOOK,),
        (WAY,),
        (FILES, IDS, UID, CAPABILITIES, SCOPES, FILTER, *_OF_ALL),
    ],
}
"""What is taken out together; what is in the way of nothing else shares a copy."""

THE_KERNELS = {
    "write-system", "proc-sys", "devices", "file-handles", "setns", "kernel-code", "kernel-log", "raw-sockets",
    "terminal", "bpf",
}  # fmt: skip
"""What the kernel refuses to every ordinary user, with nothing of ours around it: a worker that is none has nothing to
keep. That a run of root's does not have it either is ours, and stands under root."""

NOT_THERE = {"covered", "starts"}
"""Below rung `namespace` nothing is covered, and no socket's name is followed: there is nothing to make go wrong."""

_SPOILT = {"links", "forged-frames"}
"""What nobody tells any more once a result has ended the supervisor."""


def cannot_turn(cell: str) -> set[str]:
    """What is held in a cell and no copy can lose."""
    rung, who = cell.split()
    return (THE_KERNELS if who == "user" else set()) | (NOT_THERE if rung != NAMESPACE else set())


_WITH = {BOX: (FILES, LIST, IDS, IPC, NETWORK)}
"""What goes with another control."""

MORE = {"core-file", "environ", "worker"}
"""What a run with the rights of root may get past other controls: it raises what limits it, where a container has left
it that, and newer kernels let it read a process's environment past Landlock and past a process list."""


def taken_out(cell: str, copy: Layers) -> Layers:
    """All that is taken out of a copy: at the lower rungs the machine itself stands in nobody's way either."""
    return copy if cell.startswith(NAMESPACE) else (CONTAINER, *copy)


def expected(cell: str, copy: Layers) -> set[str]:
    """The attacks that turn in a copy."""
    gone = set(taken_out(cell, copy))
    gone.update(*(_WITH[name] for name in gone & _WITH.keys()))
    found = {name for layers, names in AGAINST[cell].items() if gone.issuperset(layers) for name in names.split()}
    return found - _SPOILT if RESULT in copy else found


def _answers(call: str, *arguments: object) -> bool:
    try:
        kit.call(call, *arguments)
    except OSError as error:
        return error.errno != errno.ENOSYS
    return True


def _reaches(kind: int, host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as own:
        own.settimeout(1)
        return own.connect_ex((host, port)) == 0


_THERE: dict[str, Callable[[], bool]] = {
    "kernel-code": lambda: _answers("init_module", b"", 0, b"") or _answers("kexec_load", 0, 99, None, 0),
    "terminal": lambda: os.path.exists("/dev/console"),
    "core-file": lambda: resource.getrlimit(resource.RLIMIT_CORE)[1] != 0,
    "tmux": lambda: shutil.which("tmux") is not None,
    "ssh-agent": lambda: shutil.which("ssh-agent") is not None,
    "none-metadata": lambda: _reaches(socket.SOCK_STREAM, "169.254.169.254", 80),
    "none-names": lambda: _reaches(socket.SOCK_DGRAM, "192.0.2.1", 53),
}


def absent() -> set[str]:
    """What this machine has nothing of, so that nobody can get it: a kernel without modules, a net without a cloud."""
    return {name for name, is_there in _THERE.items() if not is_there()}
