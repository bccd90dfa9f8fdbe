"""Which control groups a worker may make, and what a run's group holds.

Version 1 is this machine's own where the tests may make groups of it. Of version 2 the order, the paths and what is
written are proved on plain files that look like it, where a kernel of version 1 has its controllers.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.sandbox import limits
from executor.sandbox.limits import Group, Mechanisms, held, probe, rlimits, sampled, settled
from executor.sandbox.limits.mechanisms import sweep
from tests.processes import eventually

ROOT = os.geteuid() == 0
real = pytest.mark.skipif(not probe().places, reason="no control group can be made here")
M = 1 << 20


class Faked:
    """A tree of version 2, in plain files: what is written to one is what was last said to the kernel."""

    def __init__(self, folder: Path) -> None:
        self.root, self.process = folder / "cgroup", folder / "self"
        self.root.mkdir()
        self.add("", top=True)

    def add(
        self, path: str, controllers: str = "cpu memory pids", given: str = "", procs: str = "", top: bool = False
    ) -> Path:
        """A group with these controllers, some of which it hands down."""
        place = self.root / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        files = {"cgroup.controllers": controllers, "cgroup.subtree_control": given, "cgroup.procs": procs}
        for name, text in {**files, **({} if top else {"cgroup.type": "domain"})}.items():
            (place / name).write_text(text)
        return place

    def within(self, path: str) -> None:
        """The group of this process."""
        self.process.write_text(f"0::{path}\n")

    def probe(self) -> Mechanisms:
        return probe(str(self.root), str(self.process))


@pytest.fixture
def faked(tmp_path: Path) -> Faked:
    return Faked(tmp_path)


def test_a_group_of_its_own_that_hands_its_controllers_down(faked: Faked) -> None:
    """Nothing is to be moved where that is so already."""
    own = faked.add("/sealrun.service", given="cpu memory pids", procs="1\n2\n")
    faked.within("/sealrun.service")

    found = faked.probe()

    assert (found.version, found.moves, found.enables) == (2, False, ())
    assert set(found.places.values()) == {str(own)}


def test_a_group_with_nobody_else_in_it_is_left_for_a_leaf(faked: Faked) -> None:
    """As systemd delegates it, and as a container has it."""
    own = faked.add("/sealrun.service", procs=f"{os.getpid()}\n")
    faked.within("/sealrun.service")

    found = faked.probe()

    assert (found.version, found.moves, found.enables) == (2, True, ("memory", "pids", "cpu"))
    assert found.places == dict.fromkeys(("memory", "pids", "cpu", "kill"), str(own))


def test_a_group_with_others_in_it_is_nobodys_to_empty(faked: Faked) -> None:
    """The shell that a worker was started from is not moved; where the top can be had, that is the next."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as apart:
        try:
            os.kill(apart.pid, signal.SIGSTOP)
            faked.add("/session.scope", procs=f"{os.getpid()}\n{os.getppid()}\n")
            faked.within("/session.scope")
            found = faked.probe()
        finally:
            apart.kill()
    if os.getppid() == 1:
        pytest.skip("this process is a container's first child")
    assert set(found.places.values()) == ({str(faked.root)} if ROOT else set())
    assert not found.moves


def test_without_memory_and_processes_it_does_not_do(faked: Faked) -> None:
    """As of a group that was delegated without them: then it is as if there were none."""
    (faked.root / "cgroup.controllers").write_text("cpuset hugetlb")
    faked.add("/sealrun.service", controllers="cpu", procs=f"{os.getpid()}\n")
    faked.within("/sealrun.service")

    assert faked.probe() == Mechanisms()


def test_a_container_that_sees_the_hosts_path_finds_its_group_at_the_top(faked: Faked) -> None:
    """Only root looks there."""
    faked.within("/docker/0123")

    assert set(faked.probe().places.values()) == ({str(faked.root)} if ROOT else set())


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_of_version_1_each_controller_is_found_for_itself(tmp_path: Path) -> None:
    """At its path, else at the mount's root, as a container has it."""
    root = tmp_path / "cgroup"
    for place in ("memory/here", "pids", "cpu"):
        (root / place).mkdir(parents=True)
    (tmp_path / "self").write_text("4:memory:/here\n3:pids:/gone\n2:cpu,cpuacct:/\n1:name=systemd:/\n")

    found = probe(str(root), str(tmp_path / "self"))

    assert found.version == 1
    assert found.places == {"memory": f"{root}/memory/here", "pids": f"{root}/pids", "cpu": f"{root}/cpu"}


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    """No group, no file that says which."""
    assert probe(str(tmp_path), str(tmp_path / "none")) == Mechanisms()


def test_what_is_written_of_version_2(faked: Faked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's folder, a project's in it, a run's in that, each handing down; and the run's limits."""
    written = _told(monkeypatch)
    faked.add("/sealrun.service", procs=f"{os.getpid()}\n")
    faked.within("/sealrun.service")
    group = Group(
        Mechanisms(2, dict.fromkeys(("memory", "pids", "cpu", "kill"), str(faked.root))),
        "shop",
        "r1-1",
        {"memory_bytes": 64 * M, "cpus": 1.5, "pids": 20},
    )
    # A plain folder has no cgroup.procs: what is looked at is what was said before that.
    with pytest.raises(FileNotFoundError):
        group.entry({}).enter()

    above, run = f"{faked.root}/p-shop", f"{faked.root}/p-shop/r-r1-1"
    assert written == [
        (f"{above}/cgroup.subtree_control", "+cpu"),
        (f"{above}/cgroup.subtree_control", "+memory"),
        (f"{above}/cgroup.subtree_control", "+pids"),
        (f"{run}/memory.max", str(64 * M)),
        (f"{run}/memory.swap.max", "0"),
        (f"{run}/memory.oom.group", "1"),
        (f"{run}/pids.max", "20"),
        (f"{run}/cpu.max", "150000 100000"),
    ]


def _told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    written: list[tuple[str, str]] = []

    def write(path: str, text: str, *, may_lack: bool = False) -> None:
        written.append((path, text))

    monkeypatch.setattr(limits.group, "_write", write)
    return written


def _in_group(group: Group, work: Callable[[], int]) -> int:
    """The wait status of a process that has entered it."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            group.entry({}).enter()
            code = work()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


@pytest.fixture
def place() -> Iterator[Mechanisms]:
    with settled() as found:
        yield found


def _made(place: Mechanisms, **asked: float) -> Group:
    return Group(place, "shop", f"test-{os.getpid()}", asked)


@real
def test_memory_is_held_and_its_end_is_known(place: Mechanisms) -> None:
    """By the kernel, at once; a group that has not been starved says so."""
    group = _made(place, memory_bytes=64 * M)
    try:
        assert _in_group(group, lambda: len(bytearray(8 * M)) and 0) == 0
        assert not group.killed_for_memory()
        assert os.WTERMSIG(_in_group(group, lambda: len(bytearray(b"x" * (200 * M))) and 0)) == signal.SIGKILL
        assert group.killed_for_memory()
        assert 50 * M < group.peak() <= 64 * M
    finally:
        assert group.remove()


@real
def test_it_is_killed_as_a_whole(place: Mechanisms) -> None:
    """A daemon in a session of its own is in it, too."""
    group = _made(place, pids=20)
    reader, writer = os.pipe()

    def daemon() -> int:
        if os.fork() == 0:
            os.setsid()
            os.write(writer, f"{os.getpid()}\n".encode())
            time.sleep(60)
        return 0

    assert _in_group(group, daemon) == 0
    pid = int(os.read(reader, 20))
    group.kill()
    eventually(
        lambda: not os.path.exists(f"/proc/{pid}") or b"Z" in Path(f"/proc/{pid}/stat").read_bytes(), 10, "it dies"
    )
    assert group.remove()
    for end in (reader, writer):
        os.close(end)


@real
def test_one_that_cannot_be_made_says_so_when_it_is_entered(place: Mechanisms) -> None:
    """I9: no run goes on without what it was to be held by."""
    gone = Mechanisms(place.version, dict.fromkeys(place.places, "/nonexistent"))
    group = Group(gone, "shop", "r", {"memory_bytes": 64 * M})
    with pytest.raises(FileNotFoundError):
        group.entry({}).enter()
    group.kill()
    assert group.remove()


_WORKER = """
import json, os, sys
from executor.sandbox import limits
with limits.settled() as found:
    group = limits.Group(found, "shop", "r", {})
    if os.fork() == 0:
        group.entry({}).enter()
        os.setsid()
        print(os.getpid(), flush=True)
        os.execlp("sleep", "sleep", "60")
    print(json.dumps(dict(found.places)), flush=True)
    sys.stdin.read()
    os._exit(1)
"""


@real
def test_what_a_dead_worker_left_is_swept_and_a_live_ones_is_not(place: Mechanisms) -> None:
    """The lock says which; the processes in it end with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdin is not None and process.stdout is not None
    lines = sorted(process.stdout.readline() for _ in range(2))
    pid = int(lines[0])
    left = {os.path.dirname(folder): folder for folder in json.loads(lines[1]).values()}
    for above in left:
        sweep(above)
    assert all(map(os.path.exists, left.values())) and os.path.exists(f"/proc/{pid}")
    process.stdin.close()
    process.wait()
    process.stdout.close()

    def swept() -> bool:
        for above in left:
            sweep(above)
        return not any(map(os.path.exists, left.values()))

    eventually(swept, 10, "it is swept")  # what it has forked may hold its lock until it has come to its exec
    eventually(
        lambda: not os.path.exists(f"/proc/{pid}") or b" Z " in Path(f"/proc/{pid}/stat").read_bytes(), 10, "it dies"
    )
    assert all(map(os.path.exists, place.places.values())), "a live worker's is swept"


def test_as_many_cpus_as_the_work_needs() -> None:
    """Part of one is one; never more than there are; which, goes round."""
    assert len(rlimits.chosen_cpus(0.5, {0, 1, 2, 3}, 0)) == 1
    assert len(rlimits.chosen_cpus(1.5, {0, 1, 2, 3}, 7)) == 2
    assert rlimits.chosen_cpus(9, {1, 3}, 5) == {1, 3}
    assert {min(rlimits.chosen_cpus(1, {4, 6}, turn)) for turn in range(2)} == {4, 6}


@pytest.mark.parametrize(
    ("before", "usual", "after"),
    [
        ((20_000, 20_000), 1024, (1024, 10_000)),
        ((20_000, 20_000), None, (10_000, 10_000)),
        ((1500, 1500), 1200, (1024, 1024)),
        ((512, 512), 512, (512, 512)),
    ],
)
def test_a_run_has_fewer_descriptors_than_the_worker(
    before: tuple[int, int], usual: int | None, after: tuple[int, int]
) -> None:
    """Half of them, since the kernel counts together what runs and worker of one user have on their way."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < before[1]:
        pytest.skip("this process may not open so many descriptors")
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        limits.lower_descriptors(usual)
        os._exit(resource.getrlimit(resource.RLIMIT_NOFILE) != after)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_receipt_has_what_holds() -> None:
    """What no group and no count of the kernel's holds is sampled; what has no limit is not there."""
    asked = {"memory_bytes": 64 * M, "pids": 20, "cpus": 2.0, "disk_bytes": None}
    grouped = Mechanisms(1, {"memory": "/m", "pids": "/p"})

    assert held(grouped, asked, counted=False) == {
        "memory": {"bytes": 64 * M, "by": "cgroup v1"},
        "pids": {"count": 20, "by": "cgroup v1"},
        "cpus": {"count": 2.0, "by": "affinity"},
    }
    assert held(Mechanisms(), asked, counted=True)["pids"]["by"] == "rlimit"
    assert held(Mechanisms(), asked, counted=False)["pids"]["by"] == "sampling"
    assert sampled(grouped, asked, counted=False) == set()
    assert sampled(Mechanisms(), asked, counted=False) == {"memory", "pids"}
    assert sampled(Mechanisms(), {**asked, "disk_bytes": 1}, counted=True) == {"memory", "disk"}


DELEGATED = Path(__file__).parents[2] / "delegated.py"


@pytest.mark.skipif(not ROOT, reason="needs root")
@pytest.mark.parametrize("uid", [0, 61_205], ids=["root", "user"])
def test_a_delegated_group_of_version_2_is_left_and_handed_down(uid: int) -> None:
    """On the kernel's own, with the files given away as systemd does it: the worker in a leaf, runs beside it.

    Where version 1 has memory and processes, it is done with whatever version 2 has.
    """
    top = next(
        (one for one in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if os.path.exists(f"{one}/cgroup.controllers")), ""
    )
    has = Path(top, "cgroup.controllers").read_text().split() if top else []
    chosen = [one for one in ("memory", "pids") if one in has] or has[:1]
    if not chosen or not os.access(f"{top}/cgroup.subtree_control", os.W_OK):
        pytest.skip("version 2 has no controller here")
    given = Path(top, "cgroup.subtree_control")
    before = given.read_text().split()
    own = Path(top, f"sealrun-test-{os.getpid()}-{uid}")
    try:
        for one in chosen:
            given.write_text(f"+{one}")
        own.mkdir()
        for path in (own, *(own / name for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"))):
            os.chown(path, uid, uid)
        entered = f'echo $$ > {own}/cgroup.procs && exec "$@"'
        ended = subprocess.run(
            ["sh", "-c", entered, "sh", sys.executable, str(DELEGATED), top, str(uid), *chosen],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(DELEGATED.parents[1])},
        )
        assert ended.returncode == 0, ended.stderr
        version, group, shared, number, gone = json.loads(ended.stdout)
        assert (version, group, number, gone) == (2, f"/{own.name}/sealrun-self", signal.SIGKILL, True)
        assert shared == dict.fromkeys([*chosen, "kill"], " ".join(sorted(chosen)) + "\n")
        (own / "sealrun-self").rmdir()
        assert not [one for one in own.iterdir() if one.is_dir()], "a worker's folder is left"
    finally:
        if own.exists():
            own.rmdir()
        for one in set(chosen) - set(before):
            given.write_text(f"-{one}")
