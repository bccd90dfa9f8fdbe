"""What a run uses, as the kernel tells it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from executor.supervisor.usage import Usage, kill_counter
from tests.processes import eventually

BUSY = (
    "import subprocess, sys\nheld = bytearray(80 << 20)\nsubprocess.run([sys.executable, '-c', 'while True: pass'])\n"
)


def test_the_whole_tree_counts(tmp_path: Path) -> None:
    """CPU time of a child's child and memory of the child, while they live; both once they are collected."""
    usage = Usage(tmp_path / "none")
    before = usage.sample()
    started = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
    try:
        found = eventually(
            lambda: (now := usage.sample()).cpu_seconds > before.cpu_seconds + 0.3 and now, 30, "CPU time is seen"
        )
        assert found and found.memory_bytes >= before.memory_bytes + (80 << 20)
    finally:
        os.killpg(started.pid, 9)
        started.wait()
    total = usage.total()
    assert total.peak_memory_bytes >= 80 << 20
    assert usage.sample().cpu_seconds >= found.cpu_seconds


def test_a_process_that_no_sample_met_counts(tmp_path: Path) -> None:
    """What was collected meanwhile is in the next one."""
    usage = Usage(tmp_path / "none")
    before = usage.sample().cpu_seconds
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True)
    assert usage.sample().cpu_seconds >= round(before + 0.2, 2)


def test_a_tree_of_many_processes_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts thousands does not keep its supervisor busy with counting them."""
    opened: list[object] = []
    monkeypatch.setattr("executor.supervisor.usage.tree.descendants", lambda: iter(range(1 << 30, 1 << 31)))
    monkeypatch.setattr("builtins.open", lambda path, *_: opened.append(path) or open_nothing())
    Usage(tmp_path / "none").sample()
    assert len(opened) == 512


def open_nothing() -> None:
    raise FileNotFoundError


def test_samples_become_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second in the first hour; a day has some fifteen thousand."""
    monkeypatch.setattr("executor.supervisor.usage.tree.descendants", lambda: iter(()))
    now = 0.0
    usage = Usage(tmp_path / "none", clock=lambda: now)
    moments: list[float] = []
    while now < 86_400:
        now = usage.next_at
        moments.append(now)
        usage.sample()
    assert moments[:3600] == list(map(float, range(1, 3601)))
    assert 14_000 < len(moments) < 16_000


V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("4:memory:/app/x\n0::/\n", "memory/app/x/memory.oom_control", V1),
        ("9:name=systemd:/\n4:cpu,memory:/docker/1234\n", "memory/memory.oom_control", V1),
        ("0::/app.slice\n", "app.slice/memory.events", V2),
        ("0::/outside/of/this/container\n", "memory.events", V2),
    ],
)
def test_kills_for_want_of_memory_are_counted_by_the_runs_own_group(
    tmp_path: Path, groups: str, file: str, text: str
) -> None:
    """cgroup v1 and v2, seen from outside a container and from inside."""
    own, counter = tmp_path / "cgroup", tmp_path / "root" / file
    own.write_text(groups)
    counter.parent.mkdir(parents=True)
    counter.write_text(text.format(7))
    assert kill_counter(str(tmp_path / "root"), str(own)) == counter
    usage = Usage(counter)
    assert not usage.killed_for_memory()
    counter.write_text(text.format(8))
    assert usage.killed_for_memory()


def test_without_a_group_the_machines_counter_is_taken(tmp_path: Path) -> None:
    """It is there in every kernel from 4.13; where nothing counts, nothing is claimed."""
    assert kill_counter(str(tmp_path), str(tmp_path / "none")) == Path("/proc/vmstat")
    assert not Usage(tmp_path / "none").killed_for_memory()
