"""What a run's first process finds in a box, and what it cannot do there (I3, I8)."""

import ctypes
import errno
import os
import pty
import pwd
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from executor.sandbox import kernel
from executor.sandbox.box import init, namespaces, rights, root
from tests.executor.sandbox.box.conftest import PRIVATE, Boxes, Ended, without
from tests.processes import alive, descendants, eventually

libc = ctypes.CDLL(None, use_errno=True)


def refusal(act: Callable[..., Any], *arguments: Any) -> str:
    """The kernel's word for it; `yes` where it was let."""
    try:
        act(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "yes"


def test_i3_it_is_alone_and_has_no_rights(boxes: Boxes) -> None:
    """It sees its own processes, has no capability and gets none again, and is no root of anything."""

    def look() -> Any:
        lines = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
        rights = {lines[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        seen = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
        securebits = libc.prctl(27, 0, 0, 0, 0)
        return [seen, sorted(rights), lines["NoNewPrivs"].strip(), os.getuid() == 0, os.getgroups(), securebits]

    ended = boxes.inside(look)
    assert ended.trouble == ""
    assert ended.said == [[1, 2], ["0000000000000000"], "1", False, [], 0b11101111]


def test_i3_its_first_process_is_out_of_its_reach(boxes: Boxes) -> None:
    """It is not killed, stopped, read or traced from within."""

    def look() -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(1, signal.SIGKILL)
        os.kill(1, signal.SIGSTOP)
        os.kill(1, signal.SIGTERM)
        reads = [refusal(open, f"/proc/1/{name}", "rb") for name in ("environ", "mem", "maps")]
        links = [refusal(os.readlink, f"/proc/1/{name}") for name in ("root", "cwd", "exe")]
        return [*reads, *links, refusal(os.listdir, "/proc/1/fd"), libc.ptrace(16, 1, 0, 0)]

    assert boxes.inside(look).said == ["EACCES"] * 7 + [-1]


def test_i3_nothing_of_the_machine_is_there_but_system_folders(boxes: Boxes) -> None:
    """Its root holds what every system has, its source and its own folders; only its own can be written."""

    def look() -> Any:
        closed = [
            refusal(open, f"{folder}/new", "w") for folder in ("/", "/usr", "/etc", "/proc", "/sys", "/dev", "/var")
        ]
        source = boxes.place / "source"
        closed += [refusal(open, source / "new", "w"), refusal(open, source / "file", "a")]
        own = [refusal(open, boxes.place / "workspace" / name / "new", "w") for name in PRIVATE]
        own += [refusal(open, f"{folder}/own", "w") for folder in ("/tmp", "/var/tmp", "/dev/shm")]
        return [sorted(os.listdir("/")), closed, own, os.path.exists(boxes.place / "workspace/tmp/own")]

    top, closed, own, same = boxes.inside(look).said
    links = {name for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") if os.path.lexists(f"/{name}")}
    assert set(top) <= links | {"usr", "etc", "opt", "nix", "proc", "sys", "dev", "tmp", "var", "run"}
    assert "root" not in top and "home" not in top
    assert set(closed) <= {"EROFS", "EACCES", "ENOENT"}
    assert own == ["yes"] * 7 and same


def test_i3_no_mount_and_no_further_namespace(boxes: Boxes) -> None:
    """Neither by rights of root's nor by those that a user namespace of its own would give."""

    def look() -> Any:
        mount = refusal(kernel.mount, "tmpfs", "/tmp", "tmpfs", 0)
        flags = (namespaces.NEWNS, namespaces.NEWPID, namespaces.NEWNET)
        return [mount, *(refusal(kernel.unshare, flag) for flag in flags), refusal(os.chroot, "/tmp"),
                refusal(os.mknod, "/tmp/disk", 0o060600, os.makedev(254, 0)), refusal(os.setuid, 0)]  # fmt: skip

    assert set(boxes.inside(look).said) <= {"EPERM", "EINVAL"}  # the latter of a user id that is nobody's


def test_the_machines_limit_on_namespaces_is_not_touched(boxes: Boxes) -> None:
    """A worker that is root has no user namespace of its own: there the file is the machine's."""
    limit = Path("/proc/sys/user/max_user_namespaces")
    before = limit.read_text()
    inside = boxes.inside(limit.read_text).said
    assert limit.read_text() == before
    assert inside == (before if boxes.uid == 0 else "0\n")


def test_i3_network_none_is_an_empty_namespace_with_loopback(boxes: Boxes) -> None:
    """The machine's servers, its abstract sockets and the world are not there; its own servers are."""
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    name = f"\0sealrun-test-{os.getpid()}"
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(name)
    abstract.listen()

    def look() -> Any:
        own = socket.create_server(("127.0.0.1", 0))
        unix = socket.socket(socket.AF_UNIX)
        return [
            refusal(socket.create_connection, own.getsockname(), 1),
            refusal(socket.create_connection, address, 1),
            refusal(unix.connect, name),
            refusal(socket.create_connection, ("192.0.2.1", 80), 1),
        ]

    with server, abstract:
        said = boxes.inside(look, network="none").said
        assert said == ["yes", "ECONNREFUSED", "ECONNREFUSED", "ENETUNREACH"]
        assert boxes.inside(look, network="full").said[1] == "yes"


@pytest.mark.parametrize("how", ["exit", "signal", "stopped"])
def test_its_status_comes_out_as_it_is(boxes: Boxes, how: str) -> None:
    """An exit code stays one, and so does a signal."""

    def look() -> Any:
        if how == "exit":
            os._exit(77)
        os.kill(os.getpid(), signal.SIGTERM if how == "signal" else signal.SIGKILL)

    status = boxes.inside(look).status
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == {"exit": 77, "signal": -15, "stopped": -9}[how]


def test_i8_orphans_are_collected_and_end_with_the_box(boxes: Boxes) -> None:
    """A daemon of two forks in a session of its own becomes the first process's child; killed with it, it is gone."""

    def look() -> Any:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.pause()
            os._exit(0)
        os.wait()
        seen = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
        return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in seen if pid > 2]

    def act() -> Ended:
        read, write = os.pipe()
        ended = boxes.made(look, boxes.view())
        os.close(write)
        ended.box = len(os.read(read, 1))  # nothing, at once: whoever held the other end is gone
        return ended

    ended = boxes.apart(act)
    assert (ended.said, ended.box) == (["1"], 0), ended.trouble


def test_i8_a_first_process_that_another_traces_is_over_all_the_same(boxes: Boxes) -> None:
    """It cannot be collected as long as its tracer lives, which is then ended."""

    def look() -> Any:
        kernel.set_dumpable(True)  # as every program is once it has been executed
        leader = os.getpid()
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if libc.ptrace(0x4206, leader, 0, 0) == 0:  # PTRACE_SEIZE
                os.write(write, b"!")
            signal.pause()
        assert os.read(read, 1) == b"!"
        os._exit(7)

    ended = boxes.inside(look)
    assert ended.status is not None, ended.trouble
    assert os.waitstatus_to_exitcode(ended.status) == 7


def _waiting(*_: Any) -> NoReturn:
    while True:
        signal.pause()


@pytest.mark.parametrize("told", [True, False], ids=["while a run goes on", "before it is told what to hold"])
def test_i8_the_box_ends_with_whoever_made_it(boxes: Boxes, told: bool) -> None:
    """Killed without a word, it leaves nobody behind."""

    def act() -> Ended:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            box = init.make(boxes.granted, init.forked(_waiting))
            if told:
                box.go(boxes.view(), {}, [os.pipe()[1], os.pipe()[1]])
            os.write(write, box.pid.to_bytes(4))
            signal.pause()
        (box,) = struct.unpack(">i", os.read(read, 4))
        eventually(lambda: len(descendants(box)) == told, 10, "the run has begun")
        everybody = [box, *descendants(box)]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        eventually(lambda: not alive(everybody), 10, "the box ends")
        return Ended(len(everybody), "", 0, box)

    ended = boxes.apart(act)
    assert ended.said == (2 if told else 1), ended.trouble


def test_its_first_process_passes_on_what_it_is_told(boxes: Boxes) -> None:
    """Where /proc hides a box from its supervisor, that knows nobody else in it to tell."""

    def look() -> Any:
        heard: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: heard.append(number))
            os.kill(1, number)
            until = time.monotonic() + 10
            while number not in heard and time.monotonic() < until:
                time.sleep(0.001)
        return heard

    assert boxes.inside(look).said == [signal.SIGTERM, signal.SIGINT]


def test_what_it_is_told_before_it_listens_is_not_lost(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops what a first process has no handler for: a run cancelled in its first millisecond goes on."""
    listening, collect = threading.Event(), init._collect

    def late(main: int, status: int) -> NoReturn:
        listening.wait(0.3)  # nobody sets it
        collect(main, status)

    monkeypatch.setattr(init, "_collect", late)

    def look() -> Any:
        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        os.kill(1, signal.SIGTERM)
        until = time.monotonic() + 10
        while not heard and time.monotonic() < until:
            time.sleep(0.001)
        return [heard, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))]

    assert boxes.inside(look).said == [[signal.SIGTERM], []]


def test_without_a_part_the_rest_holds(boxes: Boxes) -> None:
    """Where nobody may mount a list of processes, the machine's is seen, and a process of it is as closed as ever."""
    own = boxes.inside(lambda: len([1 for name in os.listdir("/proc") if name.isdigit()])).said
    poorer = without(without(without(boxes, "proc"), "cgroup"), "pts")

    def look() -> Any:
        seen = len([1 for name in os.listdir("/proc") if name.isdigit()])
        return [seen > own, refusal(open, f"/proc/{me}/environ", "rb"), refusal(os.listdir, f"/proc/{me}/root/")]

    me = os.getpid()
    assert poorer.inside(look).said == [True, "EACCES", "EACCES"]


def test_what_it_needs_and_is_gone_is_told(boxes: Boxes) -> None:
    """With its path; and so is a link that somebody has put there since it was decided on."""
    view = boxes.view()
    source = boxes.place / "source"
    source.rename(boxes.place / "moved")
    assert boxes.inside(lambda: 1, view).trouble == f"could not enter its sandbox: {source} No such file or directory"
    source.symlink_to(boxes.place / "moved")
    assert (
        boxes.inside(lambda: 1, view).trouble
        == f"could not enter its sandbox: {source} Too many levels of symbolic links"
    )


def test_i3_what_is_forbidden_is_covered(boxes: Boxes) -> None:
    """A folder and a file of ours that lie in what an operator opened; what a run is given of them is there."""
    opened = boxes.place / "opened"
    for name in ("ours/keys", "ours/cache/env", "theirs"):
        (opened / name).mkdir(parents=True)
        (opened / name / "file").write_text("content")
    (opened / "database").write_text("content")

    def look() -> Any:
        read = [
            refusal(open, opened / name) for name in ("ours/keys/file", "ours/cache/file", "database", "theirs/file")
        ]
        return [read, (opened / "ours/cache/env/file").read_text(), os.listdir(opened / "ours"),
                refusal(open, opened / "ours/new", "w")]  # fmt: skip

    given = {"machine": [opened], "forbidden": [opened / "ours", opened / "database"]}
    ended = boxes.inside(look, cached=[opened / "ours/cache/env"], **given)
    assert ended.trouble == ""
    assert ended.said == [["ENOENT", "ENOENT", "EACCES", "yes"], "content", ["cache"], "EROFS"]


@pytest.mark.parametrize(
    "name", ["a:/home/x", "with,comma", "back\\slash", "eq=ual", "new\nline", "é" * 100, "x" * 255]
)
def test_a_source_may_be_called_anything(boxes: Boxes, name: str) -> None:
    """A path is never a part of an option's text."""
    (boxes.place / name).mkdir(parents=True)
    (boxes.place / name / "file").write_text("content")
    ended = boxes.inside(lambda: (boxes.place / name / "file").read_text(), source=boxes.place / name)
    assert (ended.trouble, ended.said) == ("", "content")


def test_i3_a_socket_of_the_machine_is_covered(boxes: Boxes) -> None:
    """In a folder that is given to read or to change, a run could connect to it; the view names it."""
    for folder in ("read", "change"):
        (boxes.place / folder).mkdir(mode=0o777)
        (boxes.place / folder).chmod(0o777)
    paths = [str(boxes.place / folder / "agent.sock") for folder in ("read", "change")]
    servers = [socket.socket(socket.AF_UNIX) for _ in paths]
    for server, path in zip(servers, paths, strict=True):
        server.bind(path)
        os.chmod(path, 0o777)
        server.listen()
    here = os.getcwd()
    os.chdir(boxes.place / "read")
    unnamed = socket.socket(socket.AF_UNIX)
    unnamed.bind("relative.sock")
    os.chdir(here)
    unnamed.listen()
    os.chmod(boxes.place / "read/relative.sock", 0o777)
    paths.append(str(boxes.place / "read/relative.sock"))
    servers.append(unnamed)
    view = boxes.view(machine=[boxes.place / "read"], shared=[boxes.place / "change"])
    assert sorted(view.sockets) == sorted(paths)

    def look() -> Any:
        return [refusal(socket.socket(socket.AF_UNIX).connect, path) for path in paths]

    assert boxes.inside(look, view).said == ["ECONNREFUSED"] * 3
    for server in servers:
        server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a root of its own")
def test_i3_a_name_that_a_socket_has_elsewhere_covers_nothing(boxes: Boxes) -> None:
    """Whoever has a root of its own can bind a socket to the path of any file: the kernel lists it under that."""
    fake = boxes.place / "root"
    (fake / "usr/bin").mkdir(parents=True)
    held, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.chroot(fake)
        socket.socket(socket.AF_UNIX).bind("/usr/bin/env")
        server = socket.socket(socket.AF_UNIX)
        server.bind("/usr/bin/python3")
        os.close(held)
        os.write(done, b"!")
        _waiting()
    try:
        os.read(held, 1)
        assert " /usr/bin/python3\n" in Path("/proc/net/unix").read_text()
        assert boxes.view().sockets == ()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_links_on_the_way_to_a_socket_keep_no_run_from_starting(boxes: Boxes) -> None:
    """Whoever bound it chose the path: more links than anybody follows, each leading to the next."""
    for number in range(1200):
        (boxes.place / f"l{number}").symlink_to(boxes.place / f"l{number + 1}")
    (boxes.place / "l1200").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{boxes.place}/l1190/x")
        server.listen()
        os.rename(boxes.place / "l1190", boxes.place / "gone")
        (boxes.place / "l1190").symlink_to(boxes.place / "l0")
        assert boxes.view().sockets == ()


def test_its_user_has_a_name(boxes: Boxes) -> None:
    """A lent id, or one that the machine has no name for: ssh and psql refuse to work without."""

    def look() -> Any:
        found = pwd.getpwuid(os.getuid())
        return [found.pw_name, found.pw_dir, pwd.getpwnam("root").pw_uid, refusal(open, "/etc/passwd", "a")]

    ended = boxes.inside(look)
    assert ended.said[:3] == ["sealrun", str(boxes.place / "workspace/home"), 0], ended.trouble
    assert ended.said[3] in ("EROFS", "EACCES")


def test_a_terminal_of_its_own(boxes: Boxes) -> None:
    """As pexpect, script and tmux need it."""

    def look() -> Any:
        pty.openpty()
        return os.listdir("/dev/pts")

    assert sorted(boxes.inside(look).said) == ["0", "ptmx"]


def test_it_cannot_see_rights_before_they_are_given_up(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the tests above: without the step that gives them up, the run's process has rights."""
    monkeypatch.setattr(rights, "give_up", lambda uid: None)
    ended = boxes.inside(lambda: Path("/proc/self/status").read_text())
    held = next(line for line in ended.said.splitlines() if line.startswith("CapEff"))
    assert int(held.split()[1], 16) != 0
    assert root.NEW == "/new"
