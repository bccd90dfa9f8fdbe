"""What a run's process can reach: decided in the worker, and tried here from inside by a real process."""

import ctypes
import errno
import grp
import json
import os
import platform
import pwd
import resource
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from executor.errors import PathRefused
from executor.sandbox import confinement, kernel, probing, user
from executor.sandbox.confinement import View
from executor.sandbox.filter import judge
from executor.sandbox.host import Host
from tests.executor.conftest import ROOT, OrdinaryUser

LANDLOCK = kernel.landlock_abi()
UID = 60620
PRIVATE = ("workspace/home", "workspace/tmp", "workspace/output")


def inside(view: View, look: Callable[[], Any]) -> Any:
    """What `look` returns in a forked process that has entered the view."""
    reading, writing = os.pipe()
    over, over_write = os.pipe()

    def work(channel: int | None, parent: int) -> NoReturn:
        try:
            os.close(reading)
            confinement.enter(view, parent, signal.SIGKILL, channel)
            said = {"said": look()}
        except BaseException as error:  # noqa: BLE001  # told to the test, which fails with it
            said = {"failed": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(said).encode())
        os._exit(0)

    parent = os.getpid()
    if confinement.judged(view):
        pid = judge.start(view.writable, view.uid, over_write, {*map(int, os.listdir("/proc/self/fd"))}, work)
    else:
        pid = os.fork()
        if pid == 0:
            work(None, parent)
    for fd in (writing, over, over_write):
        os.close(fd)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    assert text, "the process ended in its sandbox without a word"
    document = json.loads(text)
    assert "failed" not in document, document
    return document["said"]


def can(act: Callable[..., Any], *arguments: Any) -> str:
    """`yes`, or the name of the error number."""
    try:
        act(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "yes"


def read(path: Path) -> bytes:
    return Path(path).read_bytes()


def write(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


@pytest.fixture
def place(open_folder: Path) -> Path:
    """A source root, a workspace, and a folder of sealrun's own, side by side."""
    for name in ("source", "source/sub", "workspace", *PRIVATE, "home", "home/keys"):
        (open_folder / name).mkdir()
        (open_folder / name / "file").write_bytes(b"content")
    for path in [open_folder, *open_folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (open_folder / "workspace").chmod(0o711 if os.geteuid() == 0 else 0o700)
    given_to(open_folder, UID)
    return open_folder


def given_to(place: Path, uid: int) -> None:
    """The run's three folders; what holds them stays the worker's."""
    if os.geteuid() == 0:
        for name in PRIVATE:
            for path in (place / name, place / name / "file"):
                os.chown(path, uid, uid)


def decided(place: Path, host: Host | None = None, uid: int | None = None, **more: Any) -> View:
    values: dict[str, Any] = {
        "source": place / "source",
        "interpreter": [],
        "writable": [place / name for name in PRIVATE],
        "forbidden": [place / "home", place / "workspaces"],
    }
    return confinement.view(host or Host(LANDLOCK, False), uid=uid, **(values | more))


# Deciding -----------------------------------------------------------------------------------------


def test_a_view_survives_the_wire(place: Path) -> None:
    """What was decided in the worker is what is enforced in the run's process."""
    view = decided(place, Host(7, True))
    assert View.from_json(json.loads(json.dumps(view.to_json()))) == view
    assert view.rung == "landlock" and decided(place, Host(0, True)).rung == "process"


def carved(folder: Path, *forbidden: Path) -> set[str]:
    return set(confinement.without(str(folder), [str(path) for path in forbidden]))


def test_readable_folders_leave_out_the_forbidden(place: Path) -> None:
    """Landlock opens whole trees, so everything but the forbidden branch is named, member by member."""
    assert carved(place / "source", place / "home") == {str(place / "source")}
    assert carved(place, place / "home/keys") == {
        str(place / "source"),
        str(place / "workspace"),
        str(place / "home/file"),
    }
    assert carved(place, place / "home/keys/file", place / "source") == {
        str(place / "workspace"),
        str(place / "home/file"),
    }
    assert carved(place / "home", place / "home") == set()
    assert carved(place / "source", place / "source-2", place / "not/there") == {str(place / "source")}


def test_a_folder_beneath_what_is_forbidden_is_not_opened(place: Path) -> None:
    """A run started from within SEALRUN_HOME does not see it for that."""
    assert carved(place / "home/keys", place / "home") == set()
    with pytest.raises(PathRefused, match=f"{place}/home/keys lies in {place}/home"):
        decided(place, source=place / "home/keys")
    decided(place, source=place / "home/keys", forbidden=[place / "home/keys/file"])


def test_forbidden_paths_are_known_through_links(place: Path) -> None:
    """By whichever name: the key file may be named through a link, or the readable folder."""
    (place / "alias").symlink_to(place / "home")
    assert str(place / "home") not in carved(place, place / "alias/keys")
    assert str(place / "home/keys") not in carved(place, place / "alias/keys")
    assert carved(place / "alias", place / "home/keys") == {str(place / "home/file")}


def test_a_link_beside_the_forbidden_opens_nothing(place: Path) -> None:
    """A rule on a link opens what it points to: a link in the source root would let the run read anything."""
    (place / "source/keys").mkdir()
    (place / "source/everything").symlink_to("/")
    (place / "source/away").symlink_to(place / "home")
    assert carved(place / "source", place / "source/keys") == {str(place / "source/file"), str(place / "source/sub")}


def test_a_user_without_rights_needs_readable_paths(place: Path, root: None) -> None:
    """A source that others may not read is a clear error; one beneath a closed folder is brought in, if it can be."""
    (place / "source").chmod(0o750)
    with pytest.raises(PathRefused, match=f"{place}/source.*{UID}") as closed:
        decided(place, Host(LANDLOCK, True), uid=UID)
    assert "mount" not in str(closed.value)
    (place / "source").chmod(0o755)
    place.chmod(0o700)
    with pytest.raises(PathRefused, match=f"{place}/source.*{UID}") as caught:
        decided(place, Host(LANDLOCK, False), uid=UID, writable=[Path("/var/tmp")])
    assert "chmod" in caught.value.hint
    view = decided(place, Host(LANDLOCK, True), uid=UID, writable=[Path("/var/tmp")])
    assert (view.covered, view.mounted) == ((str(place),), (str(place / "source"),))


def test_a_workspace_that_the_runs_user_cannot_reach_is_an_error(place: Path, root: None) -> None:
    """SEALRUN_WORKSPACES beneath a closed folder: said before the run, and not by a run without a HOME."""
    (place / "closed").mkdir(mode=0o700)
    (place / "closed/workspace/home").mkdir(parents=True)
    for mounts in (True, False):
        with pytest.raises(PathRefused, match="closed/workspace"):
            decided(place, Host(LANDLOCK, mounts), uid=UID, writable=[place / "closed/workspace/home"])


def test_nested_covers_and_paths_are_told_once(place: Path, root: None) -> None:
    """The topmost closed folder is covered; what lies in something brought comes with it."""
    for folder in ("a", "a/b", "a/b/source", "a/b/source/.venv"):
        (place / folder).mkdir()
        (place / folder).chmod(0o755)
    (place / "a").chmod(0o700)
    (place / "a/b").chmod(0o700)
    view = decided(
        place,
        Host(LANDLOCK, True),
        uid=UID,
        source=place / "a/b/source",
        interpreter=[place / "a/b/source/.venv", Path("/usr/lib")],
    )
    assert (view.covered, view.mounted) == ((str(place / "a"),), (str(place / "a/b/source"),))


@pytest.mark.parametrize("swapped", ["source", "above"])
def test_i3_a_link_put_in_the_place_of_a_source_brings_nothing_in(place: Path, root: None, swapped: str) -> None:
    """Its owner may swap it after it was looked at, and root would follow the link to what nobody else may read."""
    if not probing.probe().mounts:
        pytest.skip("this root may not mount")
    for folder in ("closed/above/source", "secret/source"):
        (place / folder).mkdir(parents=True)
        (place / folder / "file").write_bytes(b"of somebody else's")
    (place / "closed").chmod(0o700)
    source, away = place / "closed/above/source", place / "closed/away"
    view = decided(place, Host(LANDLOCK, True), uid=UID, source=source)
    assert view.mounted == (str(source),)
    assert inside(view, lambda: read(source / "file").decode()) == "of somebody else's"
    moved = source if swapped == "source" else source.parent
    moved.rename(away)
    moved.symlink_to(place / "secret/source" if swapped == "source" else place / "secret")
    with pytest.raises(AssertionError, match=r"OSError.*Too many levels"):
        inside(view, lambda: read(source / "file").decode())


def test_the_probe_changes_nothing_here() -> None:
    """Mounts are tried in a process of its own; this one still sees its own /dev/shm."""
    before = os.stat("/dev/shm").st_dev
    host = probing.probe()
    assert host.landlock_abi == LANDLOCK
    assert os.geteuid() == 0 or not host.mounts
    assert os.stat("/dev/shm").st_dev == before


# Entering -----------------------------------------------------------------------------------------


landlocked = pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock")


@landlocked
def test_a_run_reads_its_source_and_writes_its_workspace_alone(place: Path) -> None:
    """I3: nothing else of the machine's files but what programs need."""
    other = Path("/var/tmp/sealrun-test-elsewhere")

    def look() -> dict[str, str]:
        return {
            "read source": can(read, place / "source/sub/file"),
            "list source": can(os.listdir, place / "source"),
            "write source": can(write, place / "source/file"),
            "make in source": can(os.mkdir, place / "source/new"),
            "remove from source": can(os.unlink, place / "source/file"),
            "read its own": can(read, place / "workspace/home/file"),
            "write its own": can(write, place / "workspace/tmp/new"),
            "make in its own": can(os.mkdir, place / "workspace/output/folder"),
            "list workspace": can(os.listdir, place / "workspace"),
            "make in workspace": can(os.mkdir, place / "workspace/folder"),
            "move its own": can(os.rename, place / "workspace/output", place / "workspace/tmp/away"),
            "remove its own": can(os.rmdir, place / "workspace/output"),
            "list home": can(os.listdir, place / "home"),
            "read home": can(read, place / "home/keys/file"),
            "link home in": can(os.link, place / "home/keys/file", place / "workspace/tmp/stolen"),
            "rename source in": can(os.rename, place / "source/file", place / "workspace/tmp/stolen"),
            "write elsewhere": can(write, other),
            "list /tmp": can(os.listdir, "/tmp"),
            "read /etc": can(read, Path("/etc/hostname")),
            "write null": can(write, Path("/dev/null")),
            "read a program": can(read, Path("/bin/sh")),
        }

    yes = {"read source", "list source", "read its own", "write its own", "make in its own"}
    yes |= {"read /etc", "write null", "read a program"}
    said = inside(decided(place), look)
    assert {key for key, answer in said.items() if answer == "yes"} == yes, said
    assert set(said.values()) <= {"yes", "EACCES", "EXDEV"}
    assert not other.exists()


@landlocked
def test_a_cached_folder_is_open_and_the_cache_is_not(place: Path) -> None:
    """I3: a run reads the folder that the worker chose for it, as its source or beside it, and none next to that."""
    one, other = place / "home/keys", place / "home/other"
    other.mkdir()
    (other / "file").touch()

    def look() -> list[str]:
        return [
            can(read, one / "file"),
            can(os.listdir, one),
            can(write, one / "file"),
            can(os.listdir, place / "home"),
            can(read, place / "home/file"),
            can(read, other / "file"),
        ]

    for source in (one, place / "source", place):
        view = decided(place, source=source, cached=[one])
        assert View.from_json(json.loads(json.dumps(view.to_json()))) == view
        assert inside(view, look) == ["yes", "yes", *["EACCES"] * 4]
    with pytest.raises(PathRefused, match="which no run may read"):
        decided(place, source=other, cached=[one])


@landlocked
@pytest.mark.parametrize("closed", [False, True], ids=["open", "below a closed folder"])
def test_folders_of_the_machine_are_as_their_operator_opened_them(place: Path, closed: bool) -> None:
    """I3: one to be read, one to be changed, and nothing beside them; without devices, and setuid means nothing."""
    host = Host(LANDLOCK, probing.probe().mounts)
    if closed and not host.mounts:
        pytest.skip("an ordinary user passes where it may, and this root may not mount")
    for name in ("data", "data/models", "data/out", "data/beside"):
        (place / name).mkdir()
        (place / name / "file").write_bytes(b"content")
        (place / name / "file").chmod(0o666)
        (place / name).chmod(0o777)
    (place / "data").chmod(0o700 if closed else 0o755)
    machine, shared = [place / "data/models"], [place / "data/out"]
    view = decided(place, host, uid=UID if os.geteuid() == 0 else None, machine=machine, shared=shared)
    assert View.from_json(json.loads(json.dumps(view.to_json()))) == view
    flags = {}

    def look() -> list[str]:
        for folder in (*machine, *shared):
            flags[folder] = os.statvfs(folder).f_flag & (os.ST_NOSUID | os.ST_NODEV)
        alone = all(flags.values()) or not host.mounts
        return [
            can(read, place / "data/models/file"),
            can(write, place / "data/models/file"),
            can(os.mkdir, place / "data/models/new"),
            can(write, place / "data/out/file"),
            can(os.mkdir, place / "data/out/new"),
            can(os.rename, place / "data/out/file", place / "data/out/new/file"),
            can(read, place / "data/beside/file"),
            "nosuid, nodev" if alone else "",
        ]

    *said, beside, mounted = inside(view, look)
    assert [answer.replace("EROFS", "EACCES") for answer in said] == ["yes", "EACCES", "EACCES", "yes", "yes", "yes"]
    assert (beside, mounted) == ("ENOENT" if closed else "EACCES", "nosuid, nodev")
    assert (place / "data/out/new/file").read_bytes() == b"contentx"


def test_code_is_not_run_from_where_runs_may_change_it(place: Path) -> None:
    """I3: one run could change what the next one does, and its Python's packages as well."""
    for more in ({"source": place / "source/sub"}, {"source": place / "source"}, {"interpreter": [place / "source"]}):
        with pytest.raises(PathRefused, match="which runs may change"):
            decided(place, shared=[place / "source"], **{"source": place / "workspace", **more})
    decided(place, shared=[place / "source/sub"])


def test_a_folder_that_the_runs_user_cannot_change_is_an_error(place: Path, root: None) -> None:
    """Said before the run, with what to do."""
    with pytest.raises(PathRefused, match=f"cannot be changed by the run's user {UID}") as refused:
        decided(place, uid=UID, shared=[place / "home"])
    assert "chmod o+w" in refused.value.hint


@landlocked
def test_what_became_a_link_since_it_was_decided_on_opens_nothing(place: Path) -> None:
    """I3: a prefix that was a folder when the worker looked, and leads to somebody's home when the run begins."""
    for name in ("prefix", "deep/prefix"):
        (place / name).mkdir(parents=True)
    (place / "kept").write_bytes(b"content")
    view = decided(place, interpreter=[place / "prefix", place / "deep/prefix", place / "kept"])
    (place / "prefix").rmdir()
    (place / "prefix").symlink_to(place / "workspace")
    (place / "deep").rename(place / "gone")
    (place / "deep").symlink_to(place)
    (place / "deep/prefix/link").symlink_to(place / "home")

    def look() -> list[str]:
        paths = (place / "kept", place / "workspace/file", place / "deep/workspace/file", place / "home/file")
        return [can(read, path) for path in paths]

    assert inside(view, look) == ["yes", "EACCES", "EACCES", "EACCES"]


@landlocked
def test_a_forbidden_path_inside_the_source_stays_closed(place: Path) -> None:
    """I3: SEALRUN_HOME within the project's folder; links do not open it either."""
    (place / "source/link").symlink_to(place / "source/sub")
    view = decided(place, forbidden=[place / "source/sub"])

    def look() -> list[str]:
        return [
            can(read, place / "source/file"),
            can(read, place / "source/sub/file"),
            can(read, place / "source/link/file"),
            can(os.listdir, place / "source/sub"),
        ]

    assert inside(view, look) == ["yes", "EACCES", "EACCES", "EACCES"]


@landlocked
@pytest.mark.skipif(LANDLOCK < 6, reason="Landlock confines signals and abstract sockets from ABI 6 on")
def test_signals_and_abstract_sockets_end_at_the_runs_edge(place: Path) -> None:
    """I3: a run of the same user can neither stop the worker nor speak to what listens in the abstract namespace."""
    name = f"\0sealrun-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen()
        target = os.getpid()

        def look() -> list[str]:
            with socket.socket(socket.AF_UNIX) as client:
                return [can(os.kill, target, 0), can(client.connect, name), can(os.kill, os.getpid(), 0)]

        assert inside(decided(place), look) == ["EPERM", "EPERM", "yes"]


@pytest.mark.parametrize("rung", ["process", "landlock"])
def test_every_run_is_bound_in_the_same_small_ways(place: Path, rung: str) -> None:
    """No new privileges, no core file, no capability gained: at each rung."""
    if rung == "landlock" and not LANDLOCK:
        pytest.skip("this kernel has no Landlock")

    def look() -> list[Any]:
        status = dict(
            line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
        )
        return [status["NoNewPrivs"].strip(), resource.getrlimit(resource.RLIMIT_CORE)]

    assert inside(decided(place, Host(LANDLOCK if rung == "landlock" else 0, False)), look) == ["1", [0, 0]]


def test_a_lent_user_id_leaves_nothing_of_root(place: Path, root: None) -> None:
    """I3: ids, groups and capabilities; and no way back."""

    def look() -> list[Any]:
        status = dict(
            line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
        )
        return [
            os.getresuid(),
            os.getresgid(),
            os.getgroups(),
            [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")],
            can(os.setuid, 0),
            can(os.mount, "x") if hasattr(os, "mount") else can(kernel.mount, "tmpfs", "/mnt", "tmpfs", 0),
        ]

    before = os.getgroups()
    os.setgroups([0, 4, 27])
    try:
        said = inside(decided(place, probing.probe(), uid=UID), look)
    finally:
        os.setgroups(before)
    assert said == [[UID] * 3, [UID] * 3, [], [0, 0, 0], "EPERM", "EPERM"]


def test_a_lent_user_id_has_a_name_where_the_worker_may_mount(place: Path, root: None) -> None:
    """Programs that look themselves up find a name, a group and the run's HOME; everybody else stays known."""
    if not probing.probe().mounts:
        pytest.skip("this root may not mount")

    def look() -> list[Any]:
        me = pwd.getpwuid(os.getuid())
        names = [me.pw_name, grp.getgrgid(os.getgid()).gr_name, pwd.getpwuid(0).pw_name]
        return [*names, me.pw_dir, os.listdir("/dev/shm")]

    said = inside(decided(place, Host(LANDLOCK, True), uid=UID), look)
    assert said == ["sealrun", "sealrun", pwd.getpwuid(0).pw_name, str(place / "workspace/home"), []]
    assert not user.is_known(UID)


def test_shared_memory_is_the_runs_own(place: Path, root: None) -> None:
    """Where the worker may mount: files of others in /dev/shm are not there."""
    host = probing.probe()
    if not host.mounts:
        pytest.skip("this root may not mount")
    file = Path(f"/dev/shm/sealrun-test-{os.getpid()}")
    own = file.with_suffix(".own")
    file.write_text("other's")
    try:
        assert inside(decided(place, host, uid=UID), lambda: [os.listdir("/dev/shm"), can(write, own)]) == [
            [],
            "yes",
        ]
        assert not own.exists()
    finally:
        file.unlink()


def test_system_v_shared_memory_is_not_seen_by_the_next_run(place: Path, root: None) -> None:
    """Where the worker may mount: a segment that one run leaves for everybody is gone with it, and never seen here."""
    host = probing.probe()
    if not host.mounts:
        pytest.skip("this root may not mount")
    libc = ctypes.CDLL(None, use_errno=True)
    key, made = 0x5EA1 << 16 | os.getpid() & 0xFFFF, 0o1666  # IPC_CREAT, for all
    try:
        assert inside(decided(place, host, uid=UID), lambda: libc.shmget(key, 4096, made) >= 0) is True
        for uid in (UID, UID + 1, None):
            assert inside(decided(place, host, uid=uid), lambda: libc.shmget(key, 4096, 0)) == -1
        assert libc.shmget(key, 4096, 0) == -1
    finally:
        if (left := libc.shmget(key, 4096, 0)) >= 0:
            libc.shmctl(left, 0, None)


ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(platform.machine(), (None, None))
SESSION, JOIN, SEARCH, READ = -3, 1, 10, 11


@pytest.fixture
def key_of_the_worker() -> Iterator[tuple[Callable[..., str], int]]:
    """keyctl(2), and the number of a key in a session keyring of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: Any) -> int:
        found = libc.syscall(number, *(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
        if found < 0:
            raise OSError(ctypes.get_errno(), "keyctl")
        return int(found)

    if KEYCTL is None:
        pytest.skip("the number of keyctl(2) is not known for this machine")
    try:
        call(KEYCTL, JOIN, None, 0, 0, 0)
        key = call(ADD_KEY, b"user", b"sealrun-test", b"of the worker", 13, SESSION)
    except OSError as error:
        pytest.skip(f"no keyrings here: {os.strerror(error.errno or 0)}")
    yield lambda *arguments: can(call, KEYCTL, *arguments), key
    call(KEYCTL, JOIN, None, 0, 0, 0)


@pytest.mark.parametrize("uid", [None, UID], ids=["of the same user", "of a lent user id"])
def test_the_workers_session_keyring_does_not_reach_a_run(
    place: Path, key_of_the_worker: tuple[Callable[..., str], int], uid: int | None
) -> None:
    """I3: tickets and keys of who started the worker are neither found nor read."""
    if uid is not None and os.geteuid() != 0:
        pytest.skip("needs root")
    keyctl, key = key_of_the_worker
    buffer = ctypes.create_string_buffer(64)

    def look() -> list[str]:
        return [
            keyctl(SEARCH, SESSION, b"user", b"sealrun-test", 0),
            # The kernel lets root read what it does not possess; a lent user id has nothing to do with it.
            keyctl(READ, key, buffer, 64, 0) if os.geteuid() else "EACCES",
        ]

    assert keyctl(SEARCH, SESSION, b"user", b"sealrun-test", 0) == "yes"
    assert inside(decided(place, probing.probe(), uid=uid), look) == ["ENOKEY", "EACCES"]


def test_a_users_used_up_quota_of_keys_is_told_and_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of dead processes are collected late: it is tried for a while, and then said; other errors are raised."""
    if KEYCTL is None:
        pytest.skip("the number of keyctl(2) is not known for this machine")
    errors = [errno.EDQUOT, errno.EDQUOT, 0]

    class Libc:
        @staticmethod
        def syscall(*_: object) -> int:
            ctypes.set_errno(error := errors.pop(0) if len(errors) > 1 else errors[0])
            return -1 if error else 5

    monkeypatch.setattr(kernel, "_libc", Libc)
    monkeypatch.setattr(kernel, "_QUOTA_PATIENCE", 0.1)
    assert kernel.own_session_keyring() is True
    errors[:] = [errno.EDQUOT]
    assert kernel.own_session_keyring() is False
    for harmless in (errno.ENOSYS, errno.EPERM):
        errors[:] = [harmless]
        assert kernel.own_session_keyring() is True
    errors[:] = [errno.EINVAL]
    with pytest.raises(OSError, match="Invalid argument"):
        kernel.own_session_keyring()


def test_links_to_an_interpreter_are_no_readable_paths(place: Path) -> None:
    """I3: a rule on a link would open what it points to."""
    (place / "source/everything").symlink_to("/")
    view = decided(place, interpreter=[place / "source/everything", place / "source/sub"])
    assert str(place / "source/everything") not in view.readable and str(place / "source/sub") in view.readable
    assert view.links == ()


@pytest.mark.parametrize("abi", [LANDLOCK, 0], ids=["landlock", "process"])
def test_links_on_the_way_to_what_is_brought_in_are_there(place: Path, root: None, abi: int) -> None:
    """`current -> versions/3.12`, in a closed folder: the name an environment knows its interpreter by still leads."""
    host = Host(abi, probing.probe().mounts)
    if not host.mounts:
        pytest.skip("this root may not mount")
    closed = place / "closed"
    (closed / "versions/3.12/bin").mkdir(parents=True)
    (closed / "versions/3.12/bin/python3.12").write_text("program")
    (closed / "private").mkdir(mode=0o755)
    (closed / "versions/3.12/bin/python").symlink_to("python3.12")
    (closed / "links").mkdir()
    (closed / "links/current").symlink_to("../versions/3.12")
    (closed / "links/private").symlink_to("../private")
    closed.chmod(0o700)
    links = [closed / "links/current", closed / "versions/3.12/bin/python"]
    with pytest.raises(PathRefused, match="cannot mount it"):
        decided(place, Host(abi, False), uid=UID, interpreter=links[:1])
    view = decided(place, host, uid=UID, interpreter=[closed / "versions/3.12/bin", *links])
    assert view.links == (str(closed / "links/current"),)
    assert View.from_json(json.loads(json.dumps(view.to_json()))) == view

    def look() -> list[str]:
        return [
            can(read, closed / "links/current/bin/python"),
            can(os.stat, closed / "private"),
            can(os.readlink, closed / "links/private"),
            can(os.unlink, closed / "links/current"),
        ]

    assert inside(view, look) == ["yes", "ENOENT", "ENOENT", "EACCES"]
    assert sorted(os.listdir(closed / "links")) == ["current", "private"]


@pytest.mark.parametrize("abi", [LANDLOCK, 0], ids=["landlock", "process"])
def test_a_source_beneath_a_closed_folder_is_brought_in(place: Path, root: None, abi: int) -> None:
    """Readable and read-only at its own path; the rest of the closed folder is hidden; outside nothing has changed."""
    host = Host(abi, probing.probe().mounts)
    if not host.mounts:
        pytest.skip("this root may not mount")
    closed = place / "closed"
    (closed / "project/sub").mkdir(parents=True)
    (closed / "project/sub/job.py").write_text("job")
    (closed / "python").write_text("python")
    (closed / "private").write_text("private")
    for path in closed.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    closed.chmod(0o700)
    view = decided(place, host, uid=UID, source=closed / "project", interpreter=[closed / "python"])

    def look() -> dict[str, Any]:
        return {
            "read": can(read, closed / "project/sub/job.py"),
            "file": can(read, closed / "python"),
            "write": can(write, closed / "project/sub/job.py"),
            "make": can(os.mkdir, closed / "project/new"),
            "write file": can(write, closed / "python"),
            "private": can(read, closed / "private"),
            "there": sorted(os.listdir(closed)) if not abi else [],
            "stage": os.path.exists(place / "workspace/.stage"),
            "workspace": can(write, place / "workspace/tmp/new"),
        }

    said = inside(view, look)
    refused = {"EROFS", "EACCES"}
    assert said.pop("write") in refused and said.pop("make") in refused and said.pop("write file") in refused
    assert said == {
        "read": "yes",
        "file": "yes",
        "private": "ENOENT",
        "there": [] if abi else ["project", "python"],
        "stage": False,
        "workspace": "yes",
    }
    assert (closed / "private").read_text() == "private"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert str(closed) not in Path("/proc/self/mounts").read_text()


def test_a_dead_parent_ends_it_before_it_begins(place: Path) -> None:
    """The supervisor died between fork and binding: the run does not start on its own."""
    view, another = decided(place, Host(0, False)), 1 if os.getpid() != 1 else 2
    pid = os.fork()
    if pid == 0:
        try:
            confinement.enter(view, another, signal.SIGKILL)
        finally:
            os._exit(7)  # not on, into the tests of its parent
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


ORDINARY = """
import dataclasses, os, sys, json, signal
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from executor.sandbox import kernel, confinement as sandbox, probing
from executor.sandbox.filter import judge
place = Path(sys.argv[2])
host = dataclasses.replace(probing.probe(), parts={})
view = sandbox.view(host, source=place / "source", interpreter=[], uid=None, forbidden=[place / "home"],
                    writable=[place / "workspace" / name for name in ("home", "tmp", "output")])
def can(act, *arguments):
    try: act(*arguments)
    except OSError as error: return error.strerror
    return "yes"
parent = os.getpid()
def work(channel, above):
    sandbox.enter(view, above, signal.SIGKILL, channel)
    print(json.dumps([
        view.rung, host.mounts, can(os.listdir, place / "source"), can(os.listdir, place / "home"),
        can(os.mkdir, place / "workspace/tmp/new"), can(open, f"/proc/{parent}/environ"),
        can(os.kill, parent, 0)]), flush=True)
    os._exit(0)
if sandbox.judged(view):
    judge.start(view.writable, None, os.pipe()[1], (), work)
elif os.fork() == 0:
    work(None, parent)
os.wait()
"""


@landlocked
def test_an_ordinary_user_needs_no_privilege_for_it(as_ordinary_user: OrdinaryUser, place: Path) -> None:
    """I3: Landlock binds without root; the worker's environment and its life are out of reach."""
    given_to(place, 60600)
    ended = as_ordinary_user(ORDINARY, ROOT, place)
    assert ended.stderr == ""
    rung, mounts, source, home, workspace, environ, kill = json.loads(ended.stdout)
    assert (rung, mounts, source, home, workspace) == ("landlock", False, "yes", "Permission denied", "yes")
    assert environ == "Permission denied"
    assert kill == ("Operation not permitted" if LANDLOCK >= 6 else "yes")


@pytest.fixture(autouse=True)
def nothing_is_left_mounted() -> Iterator[None]:
    """Each test leaves this process's mount table as it was."""
    before = Path("/proc/self/mounts").read_text()
    yield
    assert Path("/proc/self/mounts").read_text() == before
