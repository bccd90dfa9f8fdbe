"""What a run can reach: decided in the worker, enforced in the run's own process just before its program starts.

Rungs: `process` (own session, limits, no new privileges, a user id of its own where the worker is root) and `landlock`
(the same, and only the named files). A rung is named in the receipt as it was really in force.
"""

import contextlib
import os
import pwd
import resource
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executor.errors import PathRefused
from executor.sandbox import kernel

# What programs need of a Linux system to run at all: no user's home, no /var, no /tmp, no /srv, no /mnt.
SYSTEM_FOLDERS = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix/store", "/proc", "/sys",
    "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf", "/run/nscd",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm")
OWN_MEMORY = "/dev/shm"  # where the worker may mount, each run has one of its own
_RUNS_PROCESS_LIMIT = 4096


@dataclass(frozen=True)
class View:
    """The files of one run, as paths.

    `covered` folders are hidden by an empty one in which `brought` paths appear, and `links` as links. `cached` folders
    are readable although they lie in what is forbidden as a whole.
    """

    rung: str
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    forbidden: tuple[str, ...]
    covered: tuple[str, ...] = ()
    brought: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    uid: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "View":
        """From the wire."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**fields)


@dataclass(frozen=True)
class Host:
    """What this machine offers, probed once per worker."""

    landlock_abi: int
    mounts: bool

    @property
    def rung(self) -> str:
        """The highest rung this worker can give."""
        return "landlock" if self.landlock_abi else "process"


def probe() -> Host:
    """Find out what the kernel grants, by trying it in a process of its own."""
    mounts = False
    if os.geteuid() == 0:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                kernel.own_namespaces()
                kernel.mount("tmpfs", OWN_MEMORY, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
                os._exit(0)
            os._exit(1)
        mounts = os.waitpid(pid, 0)[1] == 0
    return Host(kernel.landlock_abi(), mounts)


def view(
    host: Host,
    *,
    source: Path,
    interpreter: Iterable[Path],
    writable: Sequence[Path],
    uid: int | None,
    forbidden: Iterable[Path],
    cached: Sequence[Path] = (),
) -> View:
    """Decide what a run sees.

    Args:
        host: what this machine offers.
        source: the source root, read-only to the run.
        interpreter: folders and files the run's interpreter consists of, and links on the way to them.
        writable: the run's private folders, the only writable ones.
        uid: the lent user id, or None.
        forbidden: what no run may read even where it lies beneath a readable folder: SEALRUN_HOME, the key file, the
            database file, other runs' places, the worker's cache.
        cached: folders of the worker's cache that are this run's to read; nobody but the worker chose them.

    Raises:
        PathRefused: the source root lies in what no run may read, or a needed path is closed to the run's user.
    """
    forbidden = list(forbidden)
    for folder in forbidden:
        if source not in cached and _beneath(os.path.realpath(source), os.path.realpath(folder)):
            raise PathRefused(
                "the source root {path} lies in {folder}, which no run may read",
                path=source,
                folder=folder,
                hint="move the job into a folder of its own, outside of it",
            )
    interpreter = list(interpreter)
    # Never among the readable: a rule on a link would open what it points to, wherever that is.
    links = [path for path in interpreter if path.is_symlink()]
    needed = [*dict.fromkeys((source, *(path for path in interpreter if path not in links), *cached))]
    covered: set[str] = set()
    brought: set[str] = set()
    renewed: set[str] = set()
    if uid is not None:
        for folder in writable:
            if _closed_above(folder) is not None:
                raise _cannot_bring_in(folder, uid)  # with mounts, too: it is made before them
        for path in (*needed, *links):
            if path not in links:
                _check_readable(path, uid)
            blocker = _closed_above(path)
            if blocker is not None:
                if not host.mounts:
                    raise _cannot_bring_in(path, uid)
                covered.add(str(blocker))
                (renewed if path in links else brought).add(str(path))
    return View(
        rung=host.rung,
        readable=(*SYSTEM_FOLDERS, *(str(path) for path in needed if path not in cached)),
        cached=tuple(str(folder) for folder in cached),
        writable=tuple(str(folder) for folder in writable),
        forbidden=tuple(str(path) for path in forbidden),
        covered=tuple(sorted(path for path in covered if not any(_beneath(path, other) for other in covered))),
        brought=tuple(sorted(path for path in brought if not any(_beneath(path, other) for other in brought))),
        links=tuple(sorted(path for path in renewed if not any(_beneath(path, other) for other in brought))),
        uid=uid,
    )


def enter(view: View, parent: int, death_signal: int) -> None:
    """Bind the calling process, for good: mounts, limits, user id, Landlock. Called in the run's own process."""
    if os.geteuid() == 0:
        _own_mounts(view)
    rules = _rules(view) if view.rung == "landlock" else None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if view.uid is not None:
        # Counted per user id, so it can only be stated where the run has one of its own.
        resource.setrlimit(resource.RLIMIT_NPROC, (_RUNS_PROCESS_LIMIT, _RUNS_PROCESS_LIMIT))
        os.setgroups([])
        os.setresgid(view.uid, view.uid, view.uid)
        os.setresuid(view.uid, view.uid, view.uid)
    kernel.own_session_keyring()  # without one of its own it has the zygote's, which holds nothing of the worker's
    kernel.die_with_parent(death_signal, parent)
    kernel.forbid_new_privileges()
    if rules is not None:
        rules.restrict_self()


def users_home() -> Path:
    """The home folder of the user the worker runs as, from the user database and not from the environment."""
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # an id without a name, as containers are given: it has no home to keep out of
        return Path("/nonexistent")


def _own_mounts(view: View) -> None:
    try:
        kernel.own_namespaces()
    except PermissionError:
        return  # root without CAP_SYS_ADMIN, as in most containers; `view` has refused what would need it
    kernel.mount("tmpfs", OWN_MEMORY, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    if not view.covered:
        return
    stage = Path(view.writable[0]).parent / ".stage"
    stage.mkdir(mode=0o700)
    kernel.mount("tmpfs", str(stage), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    targets = {link: os.readlink(link) for link in view.links}
    for number, path in enumerate(view.brought):
        _bind(path, str(stage / str(number)), os.path.isdir(path))
    for folder in view.covered:
        kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for link, target in targets.items():
        os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
        os.symlink(target, link)
    for number, path in enumerate(view.brought):
        _bind(str(stage / str(number)), path, os.path.isdir(stage / str(number)))
        read_only = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount(None, path, None, read_only)
    kernel.unmount(str(stage))
    stage.rmdir()


def _bind(source: str, target: str, folder: bool) -> None:
    os.makedirs(target if folder else os.path.dirname(target), mode=0o755, exist_ok=True)
    if not folder:
        with open(target, "a"):
            pass
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def _rules(view: View) -> kernel.Ruleset:
    rules = kernel.Ruleset()
    for folder in view.readable:
        for part in _carved(folder, view.forbidden):
            rules.allow(part, kernel.FS_READ)
    for folder in view.cached:
        rules.allow(folder, kernel.FS_READ)
    for folder in view.writable:
        rules.allow(folder, rules.everything)
    for device in DEVICES:
        rules.allow(device, rules.everything & ~kernel.FS_EXECUTE)
    return rules


def _carved(folder: str, forbidden: Iterable[str]) -> Iterator[str]:
    """The folder, or, where something forbidden lies beneath it, its other members one by one.

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
            # A rule on a link would open what it points to, wherever that is.
            if not member.is_symlink():
                yield from _carved(member.path, closed)


def _beneath(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _closed_above(path: Path) -> Path | None:
    """The topmost folder above `path` that others may not pass through."""
    for folder in [*(path.parent.resolve() / path.name).parents][::-1]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def _check_readable(path: Path, uid: int) -> None:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    if mode & wanted != wanted:
        raise PathRefused(path=path, uid=uid)


def _cannot_bring_in(path: Path, uid: int) -> PathRefused:
    return PathRefused(
        "{path} cannot be read by the run's user {uid}, and this worker may not mount it into the run's view",
        path=path,
        uid=uid,
        hint="make it readable (chmod o+rX on it and the folders above), move it to a folder that is, "
        "or start the worker as an ordinary user",
    )
