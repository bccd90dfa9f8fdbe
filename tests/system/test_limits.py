"""What a run may have at most, on a real worker: as root, who may make control groups, and as an ordinary user."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox import limits
from tests.processes import eventually
from tests.rig import PATIENCE, Ended, Rig, command, function, ordinary_account, rig

ROOT = os.geteuid() == 0
M = 1 << 20


WEAKER = Path(__file__).parents[1] / "no_namespaces.py"
KINDS = [*(["root"] if ROOT else []), "user", pytest.param("user, weaker", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker of each kind; one of them where no namespace can be had."""
    with rig(account=ordinary_account() if request.param != "root" and ROOT else None) as made:
        made.project("shop")
        made.start_worker(launcher=[str(WEAKER)] if "weaker" in request.param else [])
        yield made


def _held(ended: Ended, name: str) -> dict[str, Any]:
    """What the receipt says of a limit."""
    receipt = ended.view.receipt
    assert receipt is not None
    found: dict[str, Any] = receipt.controls["limits"][name]
    return found


def _grouped(ended: Ended, name: str) -> bool:
    return str(_held(ended, name)["by"]).startswith("cgroup")


BOMB = """
import sys, time
held = []
for _ in range(int(sys.argv[1])):
    held.append(b"x" * (1 << 20))
print("has", len(held), flush=True)
time.sleep(int(sys.argv[2]))
print("alive", flush=True)
"""


def test_a_memory_bomb_ends_for_a_reason_of_its_own(shop: Rig) -> None:
    """The sentence has the limit and the option; the receipt says who held it."""
    ended = shop.python_run(BOMB, "300", "20", memory_bytes=100 * M)

    assert ended.how[:2] == ("failed", "out_of_memory"), shop.told(ended.view.id)
    assert "may have 100M (give it more: --memory" in str(ended.view.message)
    assert "alive" not in ended.stdout
    held = _held(ended, "memory")
    assert held["bytes"] == 100 * M
    assert held["by"] in ("cgroup v1", "cgroup v2", "rlimit and sampling")
    if not _grouped(ended, "memory"):
        return
    assert "has" not in ended.stdout
    assert 90 * M < ended.view.metrics["peak_memory_bytes"] <= 130 * M  # type: ignore[index]


POOL = """
import multiprocessing, os, sys
def big(_):
    return len(b"x" * (400 << 20))
def main():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(big, [0]))
"""
SHELL = "head -c 400000000 /dev/zero | tail > /dev/null; echo went on; exit 0"


@pytest.mark.parametrize("how", ["passed over", pytest.param("waited for", marks=pytest.mark.long)])
def test_a_child_that_is_killed_for_memory_ends_the_run(shop: Rig, how: str) -> None:
    """Whether its parent ends well all the same, or waits for a worker of a pool that never comes back."""
    target = command("sh", "-c", SHELL) if how == "passed over" else function(shop.job(POOL), "main")
    ended = shop.run(target, memory_bytes=100 * M)

    if how == "passed over" and not _grouped(ended, "memory"):
        pytest.skip("no group has memory here: the supervisor's looks find it or not")
    assert ended.how[:2] == ("failed", "out_of_memory"), shop.told(ended.view.id)
    assert "may have 100M (give it more: --memory" in str(ended.view.message)


@pytest.mark.long
def test_a_bomb_of_several_processes_is_counted_together(shop: Rig) -> None:
    """None of them has as much as the limit; a daemon in a session of its own is one of them."""
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        held = bytearray(os.urandom(1 << 20)) * 40
        time.sleep(2)
        os._exit(0)
code = max(os.waitstatus_to_exitcode(os.wait()[1]) != 0 for _ in range(4))
raise SystemExit(int(code))
"""
    ended = shop.python_run(code, memory_bytes=100 * M)

    assert ended.how[:2] == ("failed", "out_of_memory"), shop.told(ended.view.id)


@pytest.mark.long
def test_within_its_memory_a_run_goes_on(shop: Rig) -> None:
    """What several processes share is no more than it is."""
    code = """
import os, time
held = [b"x" * (1 << 20) for _ in range(40)]
for _ in range(4):
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
for _ in range(4):
    os.wait()
print("done")
"""
    ended = shop.python_run(code, memory_bytes=100 * M)

    assert (ended.how, ended.stdout) == (("succeeded", None, 0), "done\n"), shop.told(ended.view.id)


def test_a_memory_error_under_a_limit_names_it(shop: Rig) -> None:
    """Of Python's own, which is raised before the kernel has anything to end."""
    path = shop.job("def main():\n    raise MemoryError\n")
    ended = shop.run(function(path, "main"), memory_bytes=100 * M)

    assert ended.view.reason == "out_of_memory"
    assert "may have 100M" in str(ended.view.message)


FORKS = """
import os, sys, time
made = 0
try:
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        made += 1
except OSError as error:
    print(error.strerror, flush=True)
else:
    time.sleep(20)
print("made", made, flush=True)
"""


def test_a_fork_bomb_comes_to_its_end(shop: Rig) -> None:
    """By a group or a user id of its own the next fork fails; where there is neither the run is ended."""
    ended = shop.python_run(FORKS, "100", pids=20)

    if _held(ended, "pids")["by"] == "sampling":
        assert ended.how[:2] == ("failed", "process_limit"), shop.told(ended.view.id)
        assert "more than the 20 processes that it may have at once" in str(ended.view.message)
        return
    assert ended.stdout == "Resource temporarily unavailable\nmade 19\n"
    assert ended.how == ("succeeded", None, 0)


def test_so_many_cpus_are_what_programs_count(shop: Rig) -> None:
    """`--cpus` is a quota where a group has one, and the affinity that nproc and Python's pools go by."""
    code = "import os\nprint(len(os.sched_getaffinity(0)))"
    ended = shop.python_run(code, cpus=1.0)
    counted = shop.run(command("nproc"), cpus=0.5)

    assert (ended.stdout, counted.stdout) == ("1\n", "1\n")
    assert _held(counted, "cpus")["by"] in ("cgroup v1 and affinity", "cgroup v2 and affinity", "affinity")


@pytest.mark.long
def test_a_quota_is_put_in_force(shop: Rig) -> None:
    """Where a group has one: the kernel counts how often it held the busy run up."""
    if not limits.probe().has("cpu") or shop.account is not None:
        pytest.skip("no group has a quota here")
    run_id = shop.submit(command("sh", "-c", "while test ! -e $TMPDIR/go; do :; done"), cpus=0.1)

    def held_up() -> int:
        found = [Path(group, "cpu.stat") for group in _groups(run_id)]
        lines = [line.split() for file in found if file.exists() for line in file.read_text().splitlines()]
        return sum(int(line[1]) for line in lines if line[0] == "nr_throttled")

    eventually(held_up, PATIENCE, "the run is held up")
    shop.let_go(run_id)
    ended = shop.ended(run_id)
    assert _grouped(ended, "cpus"), ended.view.receipt


FILLER = """
import os, sys, time
place = os.environ[sys.argv[1]]
for number in range(100):
    with open(f"{place}/{number}", "wb") as file:
        if sys.argv[2] == "removed":
            held = globals().setdefault("held", [])
            held.append(open(file.fileno(), "wb", closefd=False))
            held.append(os.dup(file.fileno()))
            os.unlink(f"{place}/{number}")
        file.write(os.urandom(1 << 20))
        file.flush()
    time.sleep(0.01)
time.sleep(20)
print("alive", flush=True)
"""


@pytest.mark.parametrize(
    ("place", "how"), [("HOME", "kept"), pytest.param("TMPDIR", "removed", marks=pytest.mark.long)]
)
def test_a_disk_filler_is_ended(shop: Rig, place: str, how: str) -> None:
    """Of many files none of which is large, and of files that have no name any more."""
    ended = shop.python_run(FILLER, place, how, disk_bytes=8 * M)

    assert ended.how[:2] == ("failed", "disk_limit"), shop.told(ended.view.id)
    assert "more than the 8M that it may have at once (give it more: --disk" in str(ended.view.message)
    assert _held(ended, "disk") == {"bytes": 8 * M, "by": "rlimit and sampling"}


@pytest.mark.long
def test_one_large_file_ends_at_the_limit(shop: Rig) -> None:
    """The kernel refuses the next byte, and ends who does not listen."""
    ended = shop.run(
        command("sh", "-c", "head -c 20000000 /dev/zero > $TMPDIR/one; ls -l $TMPDIR/one | cut -d' ' -f5"),
        disk_bytes=8 * M,
    )
    assert int(ended.stdout) == 8 * M
    at_once = shop.run(command("sh", "-c", "exec head -c 20000000 /dev/zero > $TMPDIR/one"), disk_bytes=8 * M)
    assert at_once.how[:2] == ("failed", "disk_limit"), shop.told(at_once.view.id)


def test_nothing_of_its_group_is_left(shop: Rig) -> None:
    """Neither after its end nor after the worker's."""
    ended = shop.python_run(
        "import os\nif os.fork() == 0:\n    os.setsid()\n    import time\n    time.sleep(60)\n", pids=20
    )
    assert ended.how == ("succeeded", None, 0)
    assert _groups(ended.view.id) == []


def test_nor_where_its_supervisor_was_killed(shop: Rig) -> None:
    """I8: while the worker lives; the daemon in it is dead, too."""
    run_id = shop.submit(command("sh", "-c", "setsid sleep 300 & echo pid $!; wait"))
    (pid,) = shop.pids(run_id, 1)
    (supervisor,) = shop.workers[-1].supervisors()
    os.kill(supervisor, 9)

    assert shop.ended(run_id).view.reason == "lost"
    assert not os.path.exists(f"/proc/{pid}")
    assert _groups(run_id) == []


def test_where_nobody_says_anything(shop: Rig) -> None:
    """I9: the receipt has what the worker gives by itself, and no limit that there is not."""
    ended = shop.run(command("true"))
    receipt = ended.view.receipt
    assert receipt is not None
    held = receipt.controls["limits"]
    assert {name: one.get("count", one.get("bytes")) for name, one in held.items()} == {"pids": 4096, "disk": 10 << 30}
    assert held["disk"]["by"] == "sampling", "a file with holes may be as large as it likes"


@pytest.mark.skipif(not limits.probe().has("cpu"), reason="no control group has a weight here")
def test_a_run_takes_its_share_when_it_has_gone_on_for_a_moment(shop: Rig) -> None:
    """All of it, daemons too, where nobody asked for a limit; no group is entered, and waited for, before it starts."""
    if shop.account is not None:
        pytest.skip("no group has a weight here")
    run_id = shop.submit(command("sh", "-c", "setsid sleep 300 & echo pid $!; while test ! -e $TMPDIR/go; do :; done"))
    (daemon,) = shop.pids(run_id, 1)

    def members() -> set[int]:
        texts = [Path(group, "cgroup.procs").read_text() for group in _groups(run_id)]
        return {int(pid) for text in texts for pid in text.split()}

    eventually(lambda: daemon in members(), PATIENCE, "the daemon is in its project's group")
    assert len(members()) >= 3, "the first of the box, the shell and its daemon"
    shop.let_go(run_id)
    ended = shop.ended(run_id)
    assert ended.how == ("succeeded", None, 0)
    receipt = ended.view.receipt
    assert receipt is not None and (receipt.rung == "namespace") == (_held(ended, "pids")["by"] == "rlimit")
    assert _groups(run_id) == []


def _groups(run_id: str) -> list[str]:
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/r-{run_id}*")]


@pytest.mark.long
@pytest.mark.skipif(not limits.probe().places, reason="no control group can be made here")
def test_what_a_killed_worker_left_goes_with_the_next() -> None:
    """I8: with worker, zygote and supervisor killed at once, the next worker ends what was in the group, and that."""
    with rig() as made:
        made.project("shop")
        first = made.start_worker()
        run_id = made.submit(command("sh", "-c", "echo pid $$; exec sleep 300"))
        (pid,) = made.pids(run_id, 1)
        eventually(lambda: _groups(run_id), 20, "it has taken its share")
        for victim in (first.pid, first.zygote, *first.supervisors()):
            os.kill(victim, 9)
        first.process.wait()
        made.start_worker()
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the run is ended")
        eventually(lambda: not _groups(run_id), 20, "its group is gone")


WORK = """
import sys, time
until, done = time.monotonic() + 4, 0
while time.monotonic() < until:
    for _ in range(10000):
        done += 1
print(done)
"""


@pytest.mark.long
@pytest.mark.skipif(not limits.probe().has("cpu"), reason="no control group has a weight here")
def test_projects_share_a_worker_evenly() -> None:
    """One with three busy runs has about as much of the CPU as one with one, where both want the same CPU."""
    cpu = min(os.sched_getaffinity(0))
    with rig() as made:
        for name in ("many", "one"):
            made.project(name)
        made.start_worker(slots=4, launcher=[str(_on_one_cpu(made.folder, cpu))])
        path = made.job(WORK)
        target = {"kind": "file", "path": path, "argv": []}
        ids = [made.submit(target, project) for project in ("many", "many", "many", "one")]
        work = [int(made.ended(run_id).stdout) for run_id in ids]
    assert 0.5 < sum(work[:3]) / work[3] < 2.0, work


def _on_one_cpu(folder: Path, cpu: int) -> Path:
    script = folder / "on_one_cpu.py"
    python = repr(sys.executable)
    script.write_text(
        f"import os, sys\nos.sched_setaffinity(0, {{{cpu}}})\nos.execv({python}, [{python}, *sys.argv[1:]])\n"
    )
    return script
