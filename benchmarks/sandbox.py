"""What each rung of the sandbox costs, beside bare bubblewrap and a bare Popen, in one interleaved series.

    python benchmarks/sandbox.py [--rounds 60] [--python PATH]

Two children, each started in every way: `python job.py`, which prints the time and goes, and the program `date`, which
does the same and has no interpreter to start. A rung is started by the product's own code below the worker, from a
process that has imported what a supervisor has. It has two times: from nothing, and from the word to go, as a run
waits in its sandbox, with its interpreter starting, while its gate is passed and its secrets are opened: here for ten
milliseconds. Processor time is that of the whole tree
and of starting it. Run it with a virtual environment's own interpreter and compiled bytecode.
"""

import argparse
import contextlib
import gc
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from executor.masking.masker import Masker
from executor.python.layout import interpreter_paths, search_path_of
from executor.sandbox import confinement, kernel, probing
from executor.sandbox.box import namespaces
from executor.sandbox.host import Host
from executor.sandbox.working import OVERLAY, UPPER, copy, layers
from executor.supervisor import child as children
from executor.supervisor import process as _as_large_as_a_supervisor  # noqa: F401
from executor.supervisor import written
from executor.supervisor.allowance import LogLimits
from executor.supervisor.outputs import Given
from executor.supervisor.report import Reporter

RUNGS = ("process", "landlock", "namespace")
JOB = "import os, time\nprint(time.time(), flush=True)\nprint(time.time(), flush=True)\nos._exit(0)\n"
GATE = 0.01
"""Seconds between a process that waits and the word to go: what a gate and an opening take at least."""

FOLDERS = (200, 20_000)
"""Files of a source."""

LENT = 61_184
"""The user id that runs are lent here where this is root."""


@dataclass(frozen=True)
class Place:
    """The folders of a run."""

    source: Path
    own: tuple[Path, ...]
    python: str


@dataclass(frozen=True)
class Measured:
    """One child, in milliseconds: to its own stamp, processor, from its last stamp until nothing of it is left."""

    start: float
    cpu: float
    end: float


@dataclass(frozen=True)
class Started:
    """A child that is on its way: what it prints, since when it is waited for, and what closes its descriptors."""

    stdout: int
    since: float
    close: Callable[[], None]


Way = Callable[[], Started]


def main() -> None:
    options = _options()
    gc.freeze()  # as the zygote does, from which supervisors are forked
    kernel.become_subreaper()  # as a supervisor is; so what bubblewrap leaves behind is counted, too
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-", dir="/var/tmp") as folder:
        place = _place(Path(folder), options.python)
        who = "root" if os.geteuid() == 0 else "an ordinary user"
        print(
            f"{options.rounds} rounds, interleaved, as {who}; Python {sys.version.split()[0]}, {os.cpu_count()} cores"
        )
        host = probing.probe()
        print(f"this machine gives rung {host.rung}; {_bubblewrap_said()}")
        for title, target in (
            ("python job.py", {"kind": "file", "path": "job.py", "argv": []}),
            ("date", {"kind": "command", "argv": ["date", "+%s.%N"]}),
        ):
            _report(title, _series(_ways(place, host, target), options.rounds))
        print(f"\n{'working folder, ms':<22} {'layer':>8} {'collect':>8} {'copy':>8} {'cp -r, rm -r':>13}")
        for files in FOLDERS:
            _folder(Path(folder), files, options.rounds)


def _ways(place: Place, host: Host, target: dict[str, Any]) -> dict[str, Way]:
    """Every way to start this child that there is here."""
    command = [place.python, "job.py"] if target["kind"] == "file" else list(target["argv"])
    ways: dict[str, Way] = {"Popen": lambda: _popen(place, command)}
    if (bwrap := shutil.which("bwrap")) is not None:
        words = bubblewrap(bwrap, place.python, place.source, place.own)
        ways["bubblewrap"] = lambda: _popen(place, [*words, *command])
    for rung in RUNGS[: RUNGS.index(host.rung) + 1]:
        view = view_of(place, host, rung)
        ways[rung] = partial(_boxed, place, view, target, 0.0)
        ways[f"{rung}, from go"] = partial(_boxed, place, view, target, GATE)
    return ways


def view_of(place: Place, host: Host, rung: str) -> confinement.View:
    """What the run sees, at a rung that may be less than this machine has."""
    view = confinement.view(
        host,
        source=place.source,
        interpreter=interpreter_paths(place.python)[1],
        writable=place.own,
        uid=LENT if os.geteuid() == 0 else None,
        forbidden=(),
        temporary=place.own[1],
        written=place.source.parent / "written",
    )
    return replace(view, rung=rung)


def _boxed(place: Place, view: confinement.View, target: dict[str, Any], gate: float) -> Started:
    """The product's way; with a gate the clock starts behind it."""
    since = time.time()
    given = _environment(place)
    if view.rung == "namespace":  # a layer is laid once
        own = Path(tempfile.mkdtemp(dir=place.source.parent)) / "written"
        layers.prepare_written(own, view.uid)
        view = replace(view, written=str(own))
    waiting = children.prepare(target=target, python=place.python, folder=str(place.source), view=view, bare=given)
    if gate:
        time.sleep(gate)
        since = time.time()
    child = waiting.start({name.encode(): value.encode() for name, value in given.items()})
    return Started(child.stdout, since, partial(children.close, child))


def _popen(place: Place, command: Sequence[str]) -> Started:
    since, (stdout, ours) = time.time(), os.pipe()
    process = subprocess.Popen(
        command,
        cwd=place.source,
        env=_environment(place),
        stdin=subprocess.DEVNULL,
        stdout=ours,
        stderr=subprocess.DEVNULL,
    )
    process.returncode = 0  # it is reaped with all the others
    os.close(ours)
    return Started(stdout, since, partial(os.close, stdout))


def _environment(place: Place) -> dict[str, str]:
    return {"PATH": search_path_of(Path(place.python)), "LANG": "C.UTF-8", "HOME": str(place.own[0])}


def bubblewrap(bwrap: str, python: str, source: Path, own: Sequence[Path]) -> list[str]:
    """The same view as a rung's, by bubblewrap: every namespace, system folders, the source, a HOME."""
    words = [bwrap, "--unshare-all", "--share-net", "--die-with-parent", "--new-session"]
    for folder in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt"):
        words += ["--ro-bind-try", folder, folder]
    for part in interpreter_paths(python)[1]:
        words += ["--ro-bind-try", str(part), str(part)]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", str(source), str(source)]
    for folder in map(str, own):
        words += ["--bind", folder, folder]
    return [*words, "--chdir", str(source)]


def measure(way: Way) -> Measured:
    """Start one child, read its stamps, wait until nothing of it is left."""
    before, started = _cpu(), way()
    printed = b""
    while data := os.read(started.stdout, 4096):
        printed += data
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    ended, after = time.time(), _cpu()
    started.close()
    if not printed:
        raise SystemExit("a child printed nothing: it could not be started")
    stamps = [float(word) for word in printed.split()]
    return Measured((stamps[0] - started.since) * 1000, (after - before) * 1000, (ended - stamps[-1]) * 1000)


def _cpu() -> float:
    """Seconds of this process and of all that it has reaped."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _series(ways: dict[str, Way], rounds: int) -> dict[str, list[Measured]]:
    for way in ways.values():
        for _ in range(3):
            measure(way)
    series: dict[str, list[Measured]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            series[name].append(measure(ways[name]))
    return series


def _report(title: str, series: dict[str, list[Measured]]) -> None:
    base = "bubblewrap" if "bubblewrap" in series else "Popen"
    start = {name: statistics.median(one.start for one in found) for name, found in series.items()}
    cpu = {name: statistics.mean(one.cpu for one in found) for name, found in series.items()}
    print(f"\n{title + ', ms':<22} {'start':>7} {'p95':>7} {'of ' + base:>13} {'CPU':>7} {'of ' + base:>13} {'end':>7}")
    for name, found in series.items():
        p95 = statistics.quantiles([one.start for one in found], n=20)[-1]
        print(
            f"{name:<22} {start[name]:>7.1f} {p95:>7.1f} {start[name] / start[base]:>13.2f}"
            f" {cpu[name]:>7.1f} {cpu[name] / cpu[base]:>13.2f} {statistics.median(one.end for one in found):>7.1f}"
        )


def _folder(place: Path, files: int, rounds: int) -> None:
    """What it takes to have a source's folder to write in, and to find the one file that was written there."""
    source = place / f"source-{files}"
    for number in range(files):
        path = source / f"part{number // 100}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a line\n" * 10)
    times: dict[str, list[float]] = {"layer": [], "collect": [], "copy": [], "cp": []}
    for number in range(max(rounds // 3, 3)):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            own = Path(folder)
            for name, one in zip(
                ("layer", "collect"), _in_a_fork(lambda own=own: _laid_and_found(source, own)), strict=True
            ):
                times[name].append(one)
            if copy.too_much(source) is None:
                began = time.perf_counter()
                copy.make(str(source), str(own / "copied"))
                times["copy"].append(time.perf_counter() - began)
            if number < 3:
                began = time.perf_counter()
                subprocess.run(["cp", "-r", source, own / "cp"], check=True)
                subprocess.run(["rm", "-r", own / "cp"], check=True)
                times["cp"].append(time.perf_counter() - began)
    layer, found, copied, cp = (f"{statistics.median(one) * 1000:.2f}" if one else "" for one in times.values())
    print(f"{files:>10,} files {'':<5} {layer:>8} {found:>8} {copied or 'too large':>9} {cp:>12}")


def _laid_and_found(source: Path, own: Path) -> tuple[float, float]:
    """Lay a layer as a box does, write a file, collect it as a supervisor does; seconds of the first and the last."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(namespaces.NEWNS | (namespaces.NEWUSER if uid else 0))
    if uid:
        namespaces.map_user(uid, gid)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    layers.prepare_written(own / "written", None)
    (own / "seen").mkdir()
    below, above = (os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, own / "written"))
    began = time.perf_counter()
    layers.mount_over(below, above, str(own / "seen"), None)
    laid = time.perf_counter() - began
    (own / "seen" / "report.csv").write_text("a,b\n")
    worker, listening = socket.socketpair()
    reporter = Reporter(worker)
    reporter.register(Masker.build({}), LogLimits(1 << 20), 1 << 20)
    job = {
        "run": "bench",
        "view": {"uid": None},
        "working": {"how": OVERLAY, "source": str(source), "upper": str(own / "written" / UPPER)},
    }
    began = time.perf_counter()
    written.collect(job, {}, Given(1 << 30, None, reporter), reporter)
    found = time.perf_counter() - began
    assert reporter.given == 1
    listening.close()
    return laid, found


def _in_a_fork(work: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """What this returns, from a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(work()).encode())
        except BaseException:  # noqa: BLE001  # of a process of its own
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    if not said:
        raise SystemExit("a layer over a source was not laid, or nothing was found in it")
    return tuple(float(word) for word in said.strip("()").split(",") if word)


def _bubblewrap_said() -> str:
    """Its version, or that it is not here."""
    if shutil.which("bwrap") is None:
        return "no bwrap on PATH: the ratios are to Popen"
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _place(folder: Path, python: str) -> Place:
    folder.chmod(0o755)
    source, own = folder / "source", tuple(folder / name for name in ("home", "tmp", "output", "private"))
    source.mkdir()
    (source / "job.py").write_text(JOB)
    for one in own:
        one.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(one, LENT, LENT)
    return Place(source, own, python)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}")
    parser.add_argument("--python", default=str(base), help="of the children")
    return parser.parse_args()


if __name__ == "__main__":
    main()
