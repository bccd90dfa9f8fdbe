"""Which control groups this worker may make: found by making one, once per worker.

In this order: a group of version 2 that is the worker's own; as root the top of version 2; as root version 1, each
controller for itself. A worker moves itself into a leaf only where nobody else's process is in its group, which is so
where systemd has delegated it (`Delegate=yes`), and in a container.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.sandbox import tree
from executor.sandbox.limits.removal import clear

ROOT = "/sys/fs/cgroup"
PROCESS = "/proc/self/cgroup"
CONTROLLERS = ("memory", "pids", "cpu")
KILL = "kill"
"""In the place of a controller: a folder of version 2, whose groups are killed by one write."""

_NEEDED = {"memory", "pids"}
_OURS = "sealrun-w-"
_LEAF = "sealrun-self"
_MOVES = 50  # looks at who is still in the group that is to be emptied


@dataclass(frozen=True)
class Mechanisms:
    """Below which folder groups are made, by controller; nothing where none can be made.

    `moves`: the worker has to leave its group first, and `enables` are controllers to be handed down. Both are over
    once they are `settled`.
    """

    version: int = 0
    places: Mapping[str, str] = field(default_factory=dict)
    moves: bool = False
    enables: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As a receipt has it."""
        return f"cgroup v{self.version}"

    def has(self, controller: str) -> bool:
        """Whether groups have this controller."""
        return controller in self.places

    def only(self, controller: str) -> "Mechanisms":
        """Those of one controller."""
        return Mechanisms(self.version, {controller: self.places[controller]})

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return {"version": self.version, "places": dict(self.places)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Mechanisms":
        """From the wire."""
        return cls(document["version"], document["places"])


def probe(root: str = ROOT, process: str = PROCESS, *, passed_over: Collection[str] = ()) -> Mechanisms:
    """Find where groups can be made, by making and removing one. Nothing is changed.

    Args:
        root: where control groups are mounted.
        process: which groups this process is in.
        passed_over: folders that turned out not to do.
    """
    own = _groups(process)
    top = root if os.path.exists(f"{root}/cgroup.controllers") else f"{root}/unified"
    if "" in own and os.path.exists(f"{top}/cgroup.controllers"):
        for folder in dict.fromkeys((f"{top}{own['']}".rstrip("/"), top)):
            if folder == top != f"{top}{own['']}".rstrip("/") and os.geteuid() != 0:
                continue
            if folder not in passed_over and (found := _second(folder)) is not None:
                return found
    places = {}
    if os.geteuid() == 0:
        for controller in CONTROLLERS:
            # A container may see its group's path on the host, and the group itself at the mount's root.
            for folder in (f"{root}/{controller}{own.get(controller, '')}".rstrip("/"), f"{root}/{controller}"):
                if controller in own and folder not in passed_over and _can_make(folder):
                    places[controller] = folder
                    break
        if places and os.path.exists(f"{top}/cgroup.controllers") and _can_make(top):
            places[KILL] = top
    return Mechanisms(1, places) if places else Mechanisms()


@contextlib.contextmanager
def settled(root: str = ROOT, process: str = PROCESS) -> Iterator[Mechanisms]:
    """Have a folder for the groups of this worker while the context lasts; what dead workers left is cleared.

    The folder is locked: the kernel drops that however its holder dies, and the next worker clears the folder then.
    """
    passed_over: set[str] = set()
    with contextlib.ExitStack() as ending:
        while True:
            found = probe(root, process, passed_over=passed_over)
            try:
                made = _settle(found, ending)
                break
            except OSError:  # busy, or taken away meanwhile: what is weaker may do
                passed_over.update(found.places.values())
        yield made


def _settle(found: Mechanisms, ending: contextlib.ExitStack) -> Mechanisms:
    if found.moves:
        _leave(next(iter(found.places.values())))
    own: dict[str, str] = {}
    for folder in dict.fromkeys(found.places.values()):
        _hand_down(folder, found.enables)
        sweep(folder)
        own[folder] = ending.enter_context(_folder_of_this_worker(folder))
        if found.version == 2:
            _hand_down(own[folder], [one for one in found.places if one != KILL])
        _weigh(own[folder])
    return Mechanisms(found.version, {controller: own[folder] for controller, folder in found.places.items()})


def _weigh(folder: str) -> None:
    """All runs of a worker together are to weigh as much as if they were apart, beside what else is busy."""
    count = os.cpu_count() or 1
    for file, weight in (("cpu.shares", min(1024 * count, 1 << 18)), ("cpu.weight", min(100 * count, 10_000))):
        with contextlib.suppress(OSError):  # of the other version, or not its controller
            _write(f"{folder}/{file}", str(weight))


def sweep(folder: str) -> None:
    """Kill what is left in the groups of workers that are dead, and remove them."""
    for one in Path(folder).glob(f"{_OURS}*"):
        with contextlib.suppress(OSError), _locked(str(one)):
            clear(str(one))


@contextlib.contextmanager
def _folder_of_this_worker(folder: str) -> Iterator[str]:
    with contextlib.ExitStack() as ending:
        while True:
            own = f"{folder}/{_OURS}{secrets.token_hex(6)}"
            os.mkdir(own, 0o755)
            with contextlib.suppress(OSError):  # another has swept it as it was made
                ending.enter_context(_locked(own))
                break
        ending.callback(clear, own)
        yield own


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        OSError: another process holds it, or the folder is gone.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(folder)
        yield
    finally:
        os.close(handle)


def _groups(process: str) -> dict[str, str]:
    """The path of this process's group, by controller; that of version 2 by the empty name."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError), open(process) as lines:
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _second(folder: str) -> Mechanisms | None:
    """Of version 2, where groups with memory and processes can be made below this one."""
    has, given = _words(f"{folder}/cgroup.controllers"), _words(f"{folder}/cgroup.subtree_control")
    if not has >= _NEEDED or not _can_make(folder):
        return None
    wanted = [one for one in CONTROLLERS if one in has]
    enables = tuple(one for one in wanted if one not in given)
    is_top = not os.path.exists(f"{folder}/cgroup.type")  # which alone may have both processes and groups
    moves = bool(enables) and not is_top
    if enables and not (os.access(f"{folder}/cgroup.subtree_control", os.W_OK) and (is_top or _is_ours(folder))):
        if not given >= _NEEDED:
            return None
        wanted, enables, moves = [one for one in wanted if one in given], (), False
    return Mechanisms(2, dict.fromkeys([*wanted, KILL], folder), moves, enables)


def _is_ours(folder: str) -> bool:
    """Whether there is nobody in a group but this process, what it has started, and what started a container."""
    members = _members(folder)
    return members is not None and members <= {1, os.getpid(), *tree.descendants()}


def _leave(folder: str) -> None:
    """Move all that is in a group into a leaf of its own, so that it can hand its controllers down."""
    leaf = f"{folder}/{_LEAF}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(leaf, 0o755)
    for _ in range(_MOVES):
        members = _members(folder)
        if not members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                _write(f"{leaf}/cgroup.procs", str(pid))


def _hand_down(folder: str, controllers: Collection[str]) -> None:
    for one in controllers:
        _write(f"{folder}/cgroup.subtree_control", f"+{one}")


def _can_make(folder: str) -> bool:
    name = f"{folder}/{_OURS}try-{os.getpid()}-{secrets.token_hex(3)}"
    try:
        os.mkdir(name, 0o755)
        os.rmdir(name)
    except OSError:
        return False
    return True


def _members(folder: str) -> set[int] | None:
    try:
        with open(f"{folder}/cgroup.procs") as listing:
            return {int(line) for line in listing}
    except (OSError, ValueError):
        return None


def _words(path: str) -> set[str]:
    with contextlib.suppress(OSError), open(path) as file:
        return set(file.read().split())
    return set()


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
