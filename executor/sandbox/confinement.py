"""What a run can reach: decided in the worker, enforced in the run's own process just before its program starts.

Rungs: `process` (own session, limits, no new privileges, its own user id if the worker is root) and `landlock` (the
same, and only the named files). The receipt names the rung that was really in force.
"""

import contextlib
import errno
import os
import pwd
import resource
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.errors import PathRefused
from executor.sandbox import filter as calls
from executor.sandbox import kernel, user
from executor.sandbox.box import sockets
from executor.sandbox.host import Host
from executor.sandbox.working.owners import MAPPED

# The least of a Linux system that programs need: no home, no /var, /tmp, /srv or /mnt.
SYSTEM_FOLDERS = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix/store", "/proc", "/sys",
    "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf", "/run/nscd",
)  # fmt: skip
# In a box /proc, /sys and /dev are its own, and of /run there is but the file that says who resolves names: sockets lie
# there, which a run could connect to.
SYSTEM_IN_BOX = tuple(folder for folder in SYSTEM_FOLDERS if not folder.startswith(("/proc", "/sys", "/dev", "/run")))
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm")
OWN_MEMORY = "/dev/shm"  # if the worker may mount, each run gets its own


@dataclass(frozen=True)
class View:
    """The files of one run, as paths.

    An empty folder hides each `covered` one; the `mounted` paths and the `links` are made in it anew. `cached` folders
    are readable although they lie beneath a forbidden one. `machine` and `shared` are folders of the machine that its
    operator opened, to be read and to be changed. `unix_sockets`: what becomes of them at `landlock`, see `filter`.

    In a box: `parts` are those that the machine grants, `source` is the source root, `written` the folder of the layer
    over it that takes what the run writes there (none: the source is read-only), `owners` what is done about files
    there that are somebody else's, see `working.owners`, `temporary` what the run sees as /tmp, `named` the user id
    that the machine has no name for, and `sockets` those of the machine's that are covered, since they lie in what the
    run is given.
    """

    rung: str
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    forbidden: tuple[str, ...]
    covered: tuple[str, ...] = ()
    mounted: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    uid: int | None = None
    network: str = "full"
    unix_sockets: str = "open"
    parts: tuple[str, ...] = ()
    source: str = ""
    written: str = ""
    owners: str = ""
    temporary: str = ""
    named: int | None = None
    sockets: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "View":
        """From the wire."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**fields)


def view(
    host: Host,
    *,
    source: Path,
    interpreter: Iterable[Path],
    writable: Sequence[Path],
    uid: int | None,
    forbidden: Iterable[Path],
    cached: Sequence[Path] = (),
    machine: Sequence[Path] = (),
    shared: Sequence[Path] = (),
    network: str = "full",
    temporary: Path | None = None,
    written: Path | None = None,
    owners: str = "",
) -> View:
    """Decide what a run sees.

    Args:
        host: what this machine offers.
        source: the source root, read-only to the run.
        interpreter: the interpreter's folders and files, and links on the way to them.
        writable: the run's private folders, HOME first, the only writable ones.
        uid: the lent user id, or None.
        forbidden: what no run may read, even beneath a readable folder: SEALRUN_HOME, the key file, the database
            file, other runs' workspaces, the worker's cache.
        cached: folders of the worker's cache that this run may read; the worker alone chooses them.
        machine: folders of the machine that this run may read.
        shared: those that it may change.
        network: its policy.
        temporary: of its private folders, the one that it sees as /tmp in a box.
        written: the folder that takes what the run writes into the source root, see `working`; without it that is
            read-only.
        owners: what is done about files of the source root that are somebody else's.

    Raises:
        PathRefused: the source root lies in a forbidden folder, or the run's user cannot read a needed path.
    """
    forbidden, interpreter = list(forbidden), list(interpreter)
    if source not in cached:
        _check_apart(source, "which no run may read", forbidden)
    # Links are never made readable: a Landlock rule on a link opens its target, wherever that is.
    links = [path for path in interpreter if path.is_symlink()]
    parts = [path for path in interpreter if path not in links]
    for path in (source, *parts):
        _check_apart(path, "which runs may change: one could change the code of the next", shared)
    needed = [*dict.fromkeys((source, *parts, *cached, *machine, *shared))]
    covered: set[str] = set()
    mounted: set[str] = set()
    linked: set[str] = set()
    boxed = host.rung == "namespace"
    if boxed:
        linked.update(map(str, links))
    if uid is not None and boxed:
        for path in needed:
            if path != source or owners != MAPPED:
                _check_open(path, uid, changed=path in shared)
    elif uid is not None:
        # The run has a user id of its own: folders closed to others would be closed to it.
        for folder in writable:
            if _closed_above(folder) is not None:
                raise _out_of_reach(folder, uid)  # mounts would come too late: the folder is made before them
        for path in (*needed, *links):
            if path not in links:
                _check_open(path, uid, changed=path in shared)
            blocker = _closed_above(path)
            if blocker is not None:
                # Without mounts there is no way past a closed folder; with them, cover it and mount the path within.
                if not host.mounts:
                    raise _out_of_reach(path, uid)
                covered.add(str(blocker))
                (linked if path in links else mounted).add(str(path))
    bound = [str(path) for path in needed if path != source or written is None]
    return View(
        rung=host.rung,
        readable=(*SYSTEM_FOLDERS, *(str(path) for path in needed if path not in cached and path not in shared)),
        cached=tuple(str(folder) for folder in cached),
        writable=tuple(str(folder) for folder in writable),
        machine=tuple(map(str, machine)),
        shared=tuple(map(str, shared)),
        forbidden=tuple(str(path) for path in forbidden),
        covered=tuple(sorted(path for path in covered if not any(_beneath(path, other) for other in covered))),
        mounted=tuple(sorted(path for path in mounted if not any(_beneath(path, other) for other in mounted))),
        links=tuple(sorted(path for path in linked if not any(_beneath(path, other) for other in mounted))),
        uid=uid,
        network=network,
        unix_sockets=host.unix_sockets,
        parts=host.granted,
        source=str(source),
        written=str(written or ""),
        owners=owners,
        temporary=str(temporary or ""),
        named=uid if uid is not None else _nameless(),
        sockets=tuple(sockets.inside([*bound, *SYSTEM_IN_BOX], walked=[*machine, *shared])) if boxed else (),
    )


def enter(view: View, parent: int, death_signal: int, judge: int | None = None) -> None:
    """Confine the calling process for good: mounts, limits, user id, Landlock, calls. Called in the run's own process.

    Args:
        view: what it may reach.
        parent: the process with which it dies, by the death signal.
        death_signal: how.
        judge: the descriptor over which its connections are handed to who judges them; see `judged`.
    """
    if os.geteuid() == 0:
        _own_mounts(view)
    # Written as root, which can open every path; put in force last.
    rules = _rules(view) if view.rung == "landlock" else None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if view.uid is not None:
        os.setgroups([])
        os.setresgid(view.uid, view.uid, view.uid)
        os.setresuid(view.uid, view.uid, view.uid)
    kernel.own_session_keyring()  # if it fails, the run keeps the zygote's, which holds none of the worker's keys
    kernel.die_with_parent(death_signal, parent)
    kernel.forbid_new_privileges()
    if rules is not None:
        rules.restrict_self()
        calls.enter(view.network, view.unix_sockets, judge)


def judged(view: View) -> bool:
    """Tell whether a run needs a judge of its connections, `filter.judge`, from which it is forked."""
    return view.rung == "landlock" and view.unix_sockets == "judged"


def scopes_sockets(view: View) -> bool:
    """Tell whether abstract unix sockets of others are out of a run's reach, and its own out of theirs."""
    return view.rung != "process" and kernel.landlock_abi() >= kernel.SCOPES


def users_home() -> Path:
    """Return the home folder of the worker's user, from the user database and not from the environment."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # an id without a name, as in containers: it has no home to protect
        return Path("/nonexistent")


def _own_mounts(view: View) -> None:
    try:
        kernel.own_namespaces()
    except PermissionError:
        return  # root without CAP_SYS_ADMIN, as in most containers; `view` has refused what needs mounts
    kernel.mount("tmpfs", OWN_MEMORY, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    if view.uid is not None:
        user.mount_entry(view.uid, view.writable[0], OWN_MEMORY)
    for path in (*view.machine, *view.shared):
        _bind(path, path, folder=True)
        _restrict(path, read_only=path not in view.shared)
    if not view.covered:
        return
    # Keep a handle on each wanted path in a stage before its folder is covered, and move it back after.
    stage = Path(view.writable[0]).parent / ".stage"
    stage.mkdir(mode=0o700)
    kernel.mount("tmpfs", str(stage), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    targets = {link: os.readlink(link) for link in view.links}
    for number, path in enumerate(view.mounted):
        with _held(path, straight=path not in view.cached) as held:
            _bind(held, str(stage / str(number)), os.path.isdir(held))
    for folder in view.covered:
        kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for link, target in targets.items():
        os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
        os.symlink(target, link)
    for number, path in enumerate(view.mounted):
        _bind(str(stage / str(number)), path, os.path.isdir(stage / str(number)))
        _restrict(path, read_only=path not in view.shared)
    kernel.unmount(str(stage))
    stage.rmdir()


@contextlib.contextmanager
def _held(path: str, *, straight: bool) -> Iterator[str]:
    """A handle on a file or folder, as a path; what is done by it is done to that, whatever is put in its place.

    `straight`: it was decided on without links, and its owner may have put one there since, which root would follow.

    Raises:
        OSError: it is gone, or a link leads there by now.
    """
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        held = f"/proc/self/fd/{handle}"
        if straight and os.readlink(held) != path:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        yield held
    finally:
        os.close(handle)


def _restrict(path: str, *, read_only: bool) -> None:
    """Take rights from a mount: its programs are never setuid, its devices are none."""
    flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount(None, path, None, flags | (kernel.MS_RDONLY if read_only else 0))


def _bind(source: str, target: str, folder: bool) -> None:
    os.makedirs(target if folder else os.path.dirname(target), mode=0o755, exist_ok=True)
    if not folder:
        with open(target, "a"):
            pass
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def _rules(view: View) -> kernel.Ruleset:
    rules = kernel.Ruleset(view.network)
    for folder in view.readable:
        for part in without(folder, view.forbidden):
            rules.allow(part, kernel.FS_READ, straight=folder not in SYSTEM_FOLDERS)
    for folder in view.cached:
        rules.allow(folder, kernel.FS_READ)
    for folder in view.writable:
        rules.allow(folder, rules.everything)
    for folder in view.shared:
        rules.allow(folder, rules.everything & ~kernel.FS_DEVICES, straight=True)
    for device in DEVICES:
        rules.allow(device, rules.everything & ~kernel.FS_EXECUTE)
    return rules


def without(folder: str, forbidden: Iterable[str]) -> Iterator[str]:
    """Yield the folder, or, if something forbidden lies beneath it, its other members one by one.

    Landlock opens whole trees and cannot close a branch again.
    """
    real, forbidden = os.path.realpath(folder), [os.path.realpath(path) for path in forbidden]
    if any(real == path or _beneath(real, path) for path in forbidden):
        return
    closed = [path for path in forbidden if _beneath(path, real)]
    if not closed:
        yield folder
        return
    with contextlib.suppress(OSError):
        for member in os.scandir(real):
            # As in `view`: a rule on a link opens its target.
            if not member.is_symlink():
                yield from without(member.path, closed)


def _nameless() -> int | None:
    """The user id of this process, where the machine has no name for it."""
    return None if user.is_known(os.geteuid()) else os.geteuid()


def _beneath(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _closed_above(path: Path) -> Path | None:
    """Return the topmost folder above `path` that others may not pass through."""
    for folder in [*(path.parent.resolve() / path.name).parents][::-1]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def _check_apart(path: Path, what: str, folders: Iterable[Path]) -> None:
    real = os.path.realpath(path)
    for folder in folders:
        if real == (place := os.path.realpath(folder)) or _beneath(real, place):
            raise PathRefused(
                "{path} lies in {folder}, {what}",
                path=path,
                folder=folder,
                what=what,
                hint="move the job into a folder of its own, outside of it",
            )


def _check_open(path: Path, uid: int, *, changed: bool) -> None:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    if mode & wanted != wanted:
        raise PathRefused(path=path, uid=uid)
    if changed and not mode & stat.S_IWOTH:
        raise PathRefused(
            "{path} cannot be changed by the run's user {uid}",
            path=path,
            uid=uid,
            hint="let others write to it (chmod o+w, as for /tmp with o+t), or start the worker as an ordinary user",
        )


def _out_of_reach(path: Path, uid: int) -> PathRefused:
    return PathRefused(
        "{path} cannot be read by the run's user {uid}, and this worker cannot mount it for the run",
        path=path,
        uid=uid,
        hint="make it readable (chmod o+rX on it and the folders above), move it to a readable folder, "
        "or start the worker as an ordinary user",
    )
