"""Connections at rung `landlock`: judged outside, by the socket that was taken and an address that was read once."""

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from executor.sandbox import filter as filters
from executor.sandbox import kernel, tree
from executor.sandbox.filter import entering, judge
from tests.executor.sandbox.filter.machine import filtered, forked, judged, libc

UID = 60621

pytestmark = pytest.mark.skipif(filters.probe() != "judged", reason="this kernel does not ask about calls")


@pytest.fixture
def place(open_folder: Path) -> Path:
    """A folder of the run's own, and others beside it, each with a socket that somebody else listens on."""
    for name in ("own", "other"):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(0o777)
    return open_folder


@pytest.fixture
def others(place: Path) -> Iterator[str]:
    """Sockets of somebody else: one with a path, and an abstract one, whose name this is."""
    name = f"\0sealrun-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as by_path, socket.socket(socket.AF_UNIX) as abstract:
        by_path.bind(str(place / "other/agent"))
        os.chmod(place / "other/agent", 0o777)
        abstract.bind(name)
        by_path.listen()
        abstract.listen()
        yield name


def tried(address: Any, family: int = socket.AF_UNIX, kind: int = socket.SOCK_STREAM) -> str:
    with socket.socket(family, kind) as one:
        return named(one.connect_ex(address))


def named(error: int) -> str:
    return errno.errorcode[error] if error else "yes"


def listening(address: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(address)
    made.listen()
    return made


def test_i3_unix_sockets_of_others_are_out_of_reach(place: Path, others: str) -> None:
    """Whatever takes commands of its user: an agent, a terminal's server, a bus. Its own are not."""
    own = place / "own"

    def look() -> dict[str, str]:
        os.chdir(own)
        os.symlink(place / "other", own / "away")
        os.symlink(place / "other/agent", own / "agent")
        (own / "file").touch()
        kept = [
            listening(str(own / "sock")),
            listening("rel"),
            listening(f"\0own-{os.getpid()}"),
            listening(str(own / "seq"), socket.SOCK_SEQPACKET),
        ]
        said = {
            "own": tried(str(own / "sock")),
            "own, by folders": tried(f"{own}/../own//./sock"),
            "own, relative": tried("rel"),
            "own, abstract": tried(f"\0own-{os.getpid()}"),
            "own, in sequence": tried("seq", kind=socket.SOCK_SEQPACKET),
            "of another kind": tried("sock", kind=socket.SOCK_SEQPACKET),
            "not there": tried("nothing"),
            "a file": tried("file"),
            "other": tried(str(place / "other/agent")),
            "other, by folders": tried("../other/agent"),
            "other, from own": tried(f"{own}/../other/agent"),
            "other, by a linked folder": tried(str(own / "away/agent")),
            "other, by a link": tried(str(own / "agent")),
            "other, by a descriptor": tried(f"/proc/self/fd/{os.open(place / 'other', os.O_PATH)}/agent"),
            "other, by a process": tried(f"/proc/{os.getpid()}/root{place}/other/agent"),
            "other, abstract": tried(others),
            "no such abstract": tried("\0nobody"),
        }
        del kept
        return said

    said = judged(look, str(own))
    passes = {"own", "own, relative", "own, abstract", "own, in sequence"}
    assert {name for name in said if said[name] == "yes"} == passes, said
    assert {said[name] for name in said if name.startswith("other")} == {"EACCES", "EPERM"}
    assert (said["not there"], said["a file"]) == ("ENOENT", "ECONNREFUSED")
    assert said["of another kind"] == "EPROTOTYPE"
    for path in (own / "agent", own / "away", own / "file", own / "sock", own / "rel", own / "seq"):
        path.unlink()
    assert forked(look)["other"] == "yes", "without the filter they are in reach"


def test_i3_an_abstract_name_is_not_taken_by_a_forged_line(others: str) -> None:
    """The kernel's list shows a line's end in a name: a run can write a line into it, of another's name and its own."""

    def look() -> str:
        own = listening(f"\0own-{os.getpid()}")
        line = f"0: 00000002 00000000 00010000 0001 01 {os.fstat(own.fileno()).st_ino} @{others[1:]}"
        forged = listening(f"\0x\n{line}\n"[:107])
        assert line.encode() in Path("/proc/net/unix").read_bytes().split(b"\n")
        answered = tried(others)
        forged.close()
        return answered

    assert judged(look) == "EPERM"


def test_datagrams_have_no_way_out(place: Path) -> None:
    """Each would name its receiver in memory, so there are no such sockets: nothing to judge, and nothing to race."""

    def look() -> list[str]:
        said = []
        for make in (socket.socket, socket.socketpair):
            try:
                make(socket.AF_UNIX, socket.SOCK_DGRAM)
                said.append("yes")
            except OSError as error:
                said.append(named(error.errno or 0))
        return said

    assert judged(look, str(place / "own")) == ["EACCES", "EACCES"]


def test_i3_an_address_or_a_socket_changed_meanwhile_changes_nothing(place: Path, others: str) -> None:
    """Another thread writes the other's address into the same memory, and puts another socket under the same number."""
    own, other = str(place / "own/sock").encode(), str(place / "other/agent").encode()
    reached = 0

    def look() -> int:
        listener = listening(str(place / "own/sock"))
        listener.listen(4096)
        memory = ctypes.create_string_buffer(110)
        head = struct.pack("=H", socket.AF_UNIX)
        first, second = (head + path.ljust(108, b"\0") for path in (own, other))
        over = False

        def swap() -> None:
            while not over:
                ctypes.memmove(memory, first, 110)
                ctypes.memmove(memory, second, 110)

        swapping = threading.Thread(target=swap)
        swapping.start()
        inside = 0
        for _ in range(300):
            with socket.socket(socket.AF_UNIX) as one:
                if libc.connect(one.fileno(), memory, 110) == 0:
                    inside += one.getpeername() == own.decode()
                    if one.getpeername() != own.decode():
                        return -1
                    listener.accept()[0].close()
        over = True
        swapping.join()
        return inside

    reached = judged(look, str(place / "own"))
    assert reached > 0, "either only the other's address was seen, or the other was reached"


def test_i3_what_is_judged_is_the_socket_that_was_taken(place: Path, others: str) -> None:
    """An address that no judge of internet connections would look at, while the number means now this, now that."""

    def look() -> list[str]:
        tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
        place_of_both = os.dup(tcp.fileno())
        over = False

        def swap() -> None:
            while not over:
                os.dup2(unix.fileno(), place_of_both)
                os.dup2(tcp.fileno(), place_of_both)

        swapping = threading.Thread(target=swap)
        swapping.start()
        address = struct.pack("=H", socket.AF_UNIX) + str(place / "other/agent").encode() + b"\0"
        said = {named(libc.connect(place_of_both, address, len(address)) and ctypes.get_errno()) for _ in range(300)}
        over = True
        swapping.join()
        return sorted(said)

    said = judged(look, str(place / "own"))
    assert set(said) <= {"EACCES", "EAFNOSUPPORT", "EINVAL"} and len(said) > 1, said


def test_internet_connections_go_on_as_asked(place: Path) -> None:
    """Blocking and not, refused and accepted, and what is no socket: the kernel's own answers."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address, nobody = server.getsockname(), closed.getsockname()

        def look() -> dict[str, str]:
            with socket.socket() as waiting, socket.create_connection(address, timeout=5) as timed:
                waiting.setblocking(False)
                begun = waiting.connect_ex(address)
                select.select([], [waiting], [], 5)
                again = waiting.connect_ex(address)
                peers = waiting.getpeername() == timed.getpeername() == address
            with socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                said = {
                    "begun": named(begun),
                    "again": named(again),
                    "peers": str(peers),
                    "blocking": named(one.connect_ex(address)),
                    "connected": named(one.connect_ex(address)),
                    "udp": named(udp.connect_ex(address)),
                    "no family": named(libc.connect(udp.fileno(), bytes(16), 16) and ctypes.get_errno()),
                }
            errors = {
                "nobody": tried(nobody, socket.AF_INET),
                "no memory": _raw(socket.socket(), None, 16),
                "no length": _raw(socket.socket(), b"\2\0", 2),
                "too long": _raw(socket.socket(), bytes(200), 200),
                "negative": _raw(socket.socket(), bytes(16), -1),
                "unix on tcp": _raw(socket.socket(), b"\1\0/tmp/x\0".ljust(16, b"\0"), 16),
                "tcp on unix": _raw(socket.socket(socket.AF_UNIX), b"\2\0".ljust(16, b"\0"), 16),
                "closed": named(libc.connect(999, bytes(16), 16) and ctypes.get_errno()),
                "a pipe": named(libc.connect(os.pipe()[0], bytes(16), 16) and ctypes.get_errno()),
            }
            return said | errors

        said = judged(look, str(place / "own"))

        free = forked(look)
        assert said == free
        assert (said["begun"], said["blocking"], said["nobody"]) == ("EINPROGRESS", "yes", "ECONNREFUSED")


def _raw(one: socket.socket, address: bytes | None, length: int) -> str:
    with one:
        return named(libc.connect(one.fileno(), address, length) and ctypes.get_errno())


@pytest.fixture
def full(place: Path) -> Iterator[Callable[[], str]]:
    """Makes, in the run, a socket that takes nobody more: connecting to it waits."""

    def make() -> str:
        path = str(place / "own/full")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(0)
        filling = []
        for _ in range(8):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            filling.append(one)
            if one.connect_ex(path) == errno.EAGAIN:
                break
        make.kept = (listener, filling)  # type: ignore[attr-defined]
        return path

    yield make


def test_one_connection_that_waits_holds_up_no_other(place: Path, full: Callable[[], str]) -> None:
    """A thread each, so that the rest of the run goes on, and the waiting one when it can."""

    def look() -> list[str]:
        path = full()
        said: list[str] = []
        slow = [threading.Thread(target=lambda: said.append(tried(path))) for _ in range(20)]
        for one in slow:
            one.start()
        other = listening(str(place / "own/free"))
        said += [f"meanwhile {tried(str(place / 'own/free'))}" for _ in range(3)]
        listener = full.kept[0]  # type: ignore[attr-defined]
        listener.settimeout(10)
        while any(one.is_alive() for one in slow):
            listener.settimeout(0.2)
            try:
                listener.accept()[0].close()
            except TimeoutError:
                continue
        other.close()
        return said

    said = judged(look, str(place / "own"))
    assert said[:3] == ["meanwhile yes"] * 3 and said[3:] == ["yes"] * 20


def test_a_signal_interrupts_a_connection_that_waits(place: Path, full: Callable[[], str]) -> None:
    """As it does with the kernel's own connect: a timeout by an alarm, or Ctrl-C, is not lost."""

    def look() -> str:
        path = full()

        def ring(*_: object) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(path)
            except TimeoutError:
                return "interrupted"
        return "connected"

    assert judged(look, str(place / "own")) == "interrupted"


def test_calls_made_again_after_a_signal_succeed_once(place: Path) -> None:
    """A profiler's timer interrupts calls all the time, and the kernel makes them again."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        address = server.getsockname()

        def look() -> list[str]:
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.siginterrupt(signal.SIGALRM, False)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            own = listening(str(place / "own/sock"))
            own.listen(1000)
            said = [tried(address, socket.AF_INET) for _ in range(100)]
            said += [tried(str(place / "own/sock")) for _ in range(100)]
            signal.setitimer(signal.ITIMER_REAL, 0)
            return sorted(set(said))

        assert judged(look, str(place / "own")) == ["yes"]


def test_a_run_that_is_killed_ends_its_judge(place: Path, full: Callable[[], str]) -> None:
    """In the middle of a call, too: the fixture waits for the judge's own end."""

    def look() -> None:
        path = full()
        child = os.fork()
        if child == 0:
            tried(path)
            os._exit(0)
        time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    assert judged(look, str(place / "own")) == "killed by SIGKILL"


def test_a_judge_dies_with_its_supervisor_and_calls_fail(place: Path) -> None:
    """Nobody answers then: a call fails rather than that it waits, or goes through."""
    own = str(place / "own")
    reading, writing = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:

        def look() -> None:
            one = listening(f"{own}/sock")
            os.write(writing, tried(f"{own}/sock").encode() + b"\n")
            deadline = time.monotonic() + 10
            while (answered := tried(f"{own}/sock")) == "yes" and time.monotonic() < deadline:
                one.accept()[0].close()
            os.write(writing, answered.encode())

        with contextlib.suppress(BaseException):
            judged(look, own)
        os._exit(1)
    os.close(writing)
    assert os.read(reading, 64) == b"yes\n"
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    with os.fdopen(reading, "rb") as told:
        assert told.read() == b"ENOSYS"


def test_the_judge_has_the_runs_user_id_and_little_else(place: Path, root: None) -> None:
    """Its own listeners see who connects. Of root's rights it keeps the one to look at the run."""
    own = place / "own"
    os.chown(own, UID, UID)

    def look() -> dict[str, Any]:
        listener = listening(str(own / "sock"))
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(own / "sock"))
            accepted = listener.accept()[0]
            pid, uid, gid = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        environ = "closed"
        try:
            Path(f"/proc/{pid}/environ").read_bytes()
            environ = "open"
        except OSError:
            pass
        return {"uids": [uid, gid], "caps": status["CapEff"], "new": status["NoNewPrivs"], "environ": environ}

    said = judged(look, str(own), uid=UID)
    assert said["uids"] == [UID, UID] and said["new"] == "1" and said["environ"] == "closed"
    assert int(said["caps"], 16) in (0, 1 << 19)


def test_without_a_judge_unix_sockets_are_refused_whole(place: Path, others: str) -> None:
    """Where the kernel does not ask; a pair of connected ones stays, as asyncio and subprocess need it."""

    def look() -> list[str]:
        first, second = socket.socketpair()
        first.send(b"x")
        said = [second.recv(1).decode(), named(first.connect_ex(str(place / "other/agent")))]
        second.close()
        said.append(named(first.connect_ex(others)))
        try:
            socket.socket(socket.AF_UNIX)
        except OSError as error:
            said.append(named(error.errno or 0))
        return said

    assert forked(look, filtered("landlock", unix="refused")) == ["x", "EISCONN", "EISCONN", "EACCES"]


def test_a_traced_first_process_is_told_of_all_the_same() -> None:
    """I8: it cannot be collected while another process of the run traces it; how it ended is told at once."""
    reading, writing = os.pipe()

    def work(channel: int, _: int) -> NoReturn:
        kernel.forbid_new_privileges()
        entering.enter("full", "judged", channel)
        main, (told, tell) = os.getpid(), os.pipe()
        if os.fork() == 0:
            seized = libc.ptrace(0x4206, main, None, None)
            os.write(tell, b"." if seized == 0 else b"-")
            time.sleep(60)
            os._exit(0)
        os._exit(3 if os.read(told, 1) == b"." else 4)

    judging = judge.start((), None, writing, (), work)
    os.close(writing)
    try:
        ended = select.select([reading], [], [], 30)[0] and struct.unpack("=i", os.read(reading, 4))[0]
        assert os.waitstatus_to_exitcode(ended) in (3, 4)
    finally:
        below = list(tree.descendants(root=judging))
        for pid in (judging, *below):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(judging, 0)
        os.close(reading)
