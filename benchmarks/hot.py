"""Which functions take the processor time of one process. Standard library alone, as the zygote loads it.

A worker has many threads, so it is sampled: each millisecond, every thread's own clock is read, and what it has moved
is booked on the functions that the thread is in. A process that lives a few milliseconds is traced by cProfile instead,
with a clock that stands still while it waits; that makes small functions look dearer than they are. What a traced
process finds it leaves in shared memory, since it may have neither descriptors nor a file system by then.
"""

import contextlib
import cProfile
import json
import marshal
import mmap
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOM = 1 << 18
"""Bytes for what one process found."""

PLACES = 1 << 10
"""Processes there is room for."""

_EVERY = 0.001
_Where = tuple[str, int, str]


@dataclass(frozen=True)
class Line:
    """A function, or one of its lines: milliseconds of its own and with what it calls, and how often it was called."""

    where: _Where
    own: float
    whole: float
    calls: int


# In the worker ------------------------------------------------------------------------------------


def sample(folder: Path) -> None:
    """Sample this process from the moment that `begin` appears in the folder until `end` does; then write `sampled`."""
    sys.setswitchinterval(2e-5)  # else a thread is mostly seen where it gives way by itself, in a call that waits
    threading.Thread(target=_sample, args=[folder], name="sampler", daemon=True).start()


def _sample(folder: Path) -> None:
    # Where the scheduler lets it wait for a processor, it comes when a thread blocks, and books all on that moment.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_RR, os.sched_param(1))
    while not (folder / "begin").exists():
        time.sleep(0.02)
    own: Counter[_Where] = Counter()
    whole: Counter[_Where] = Counter()
    caused: Counter[_Where] = Counter()
    before = _clocks()
    number = 0
    while number % 64 or not (folder / "end").exists():
        number += 1
        time.sleep(_EVERY)
        frames = sys._current_frames()
        now = _clocks()
        for thread, (ident, clock) in now.items():
            spent = (clock - before.get(thread, (0, 0))[1]) / 1e6
            if spent and (frame := frames.get(ident)) is not None:
                _book(frame, spent, own, whole, caused)
        before = now
    found = {"own": list(own.items()), "whole": list(whole.items()), "caused": list(caused.items())}
    (folder / "sampled.new").write_text(json.dumps(found))
    (folder / "sampled.new").rename(folder / "sampled")


def _clocks() -> dict[int, tuple[int, int]]:
    """Nanoseconds that each thread but this one has had, by the kernel's number; with Python's own number."""
    me = threading.get_ident()
    found = {}
    for thread in threading.enumerate():
        if thread.ident not in (None, me) and thread.native_id is not None:
            # Its clock, see pthread_getcpuclockid(3), is exact; /proc has that of the last tick while a thread runs.
            with contextlib.suppress(OSError):
                clock = time.clock_gettime_ns((~thread.native_id << 3) | 6)
                found[thread.native_id] = (thread.ident or 0, clock)
    return found


def _book(
    frame: FrameType, spent: float, own: Counter[_Where], whole: Counter[_Where], caused: Counter[_Where]
) -> None:
    own[_place(frame.f_code)] += spent  # type: ignore[assignment]
    cause, seen, step = None, set(), frame
    while step is not None:
        place = _place(step.f_code)
        if cause is None and ("/executor/" in place[0] or "/secretstore/" in place[0]):
            cause = (place[0], step.f_lineno, place[2])
        if place not in seen:
            seen.add(place)
            whole[place] += spent  # type: ignore[assignment]
        step = step.f_back  # type: ignore[assignment]
    if cause is not None:
        caused[cause] += spent


def _place(code: CodeType) -> _Where:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def sampled(folder: Path, which: str) -> Iterator[Line]:
    """What `sample` wrote: by function, or with "caused" by the line of ours on whose behalf it was spent."""
    found = {
        kind: {tuple(where): spent for where, spent in rows} for kind, rows in json.loads(folder.read_text()).items()
    }
    if which == "caused":
        for where, spent in found["caused"].items():
            yield Line(where, spent, spent, 0)
        return
    for where, spent in found["whole"].items():
        yield Line(where, found["own"].get(where, 0.0), spent, 0)


# In the zygote and its forks ----------------------------------------------------------------------


def make(file: Path) -> None:
    """An empty file for what traced processes find."""
    with file.open("wb") as out:
        out.truncate(ROOM * PLACES)


def trace(role: str, by: str, file: Path, zygote: Any) -> None:
    """In the zygote, before it serves: have the processes of this role traced.

    Args:
        role: zygote, supervisor, opener, box or run.
        by: "cpu" or "faults".
        file: from `make`.
        zygote: the module `executor.supervisor.zygote`.
    """
    from executor.sandbox.box import init

    with file.open("r+b") as handle:
        store = _Store(mmap.mmap(handle.fileno(), 0), by)
    fork: Callable[..., int] = zygote.fork

    def counted(work: Callable[[], int], keep: Any) -> int:
        store.number += 1
        return fork(work, keep)

    zygote.fork = counted
    if role == "zygote":
        _trace_zygote(zygote, store)
    elif role == "box":
        _trace_box(init, store)
    elif role == "run":
        _trace_run(store)
    else:
        name = {"supervisor": "supervise", "opener": "open_bundle"}[role]
        setattr(zygote, name, _traced(getattr(zygote, name), store))


class _Store:
    """Where a traced process leaves what it found; `number` is that of the fork that it comes from."""

    def __init__(self, memory: mmap.mmap, by: str) -> None:
        self.memory, self.by, self.number = memory, by, 0

    def keep(self, profile: cProfile.Profile) -> None:
        profile.create_stats()
        data = marshal.dumps([(where, calls, own, whole) for where, (_, calls, own, whole, _) in profile.stats.items()])
        if self.number < PLACES and len(data) + 4 <= ROOM:
            begin = self.number * ROOM
            self.memory[begin : begin + len(data) + 4] = len(data).to_bytes(4, "big") + data


def _profile(by: str) -> cProfile.Profile:
    """One that counts milliseconds of processor time, or pages that were given or copied."""
    if by == "faults":
        return cProfile.Profile(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt, 1.0)
    return cProfile.Profile(time.process_time_ns, 1e-6)


def _traced(work: Callable[..., int], store: _Store) -> Callable[..., int]:
    def traced(*arguments: Any) -> int:
        me, profile = os.getpid(), _profile(store.by)
        try:
            return int(profile.runcall(work, *arguments))
        finally:
            if os.getpid() == me:
                store.keep(profile)

    return traced


def _trace_box(init: Any, store: _Store) -> None:
    serve, collect, profile = init._serve, init._collect, _profile(store.by)

    def served(*arguments: Any) -> Any:
        profile.enable()
        return serve(*arguments)

    def collected(*arguments: Any) -> Any:
        profile.disable()
        store.keep(profile)
        return collect(*arguments)

    init._serve, init._collect = served, collected


def _trace_run(store: _Store) -> None:
    """Until it becomes an interpreter, by function; from then on it says itself what its imports take.

    The first process of a box starts an interpreter with no moment in between: here it forks for it, as for a command.
    """
    from executor.sandbox.box import init
    from executor.supervisor import child as module

    child: Any = module
    system: Any = os
    become, arguments, execve = child._become, child._arguments, os.execve

    def became(*given: Any) -> Any:
        profile = _profile(store.by)

        def executed(*words: Any) -> Any:
            profile.disable()
            store.keep(profile)
            return execve(*words)

        system.execve = executed
        profile.enable()
        return become(*given)

    def told(*given: Any) -> list[str]:
        python, *rest = arguments(*given)
        return [python, "-X", "importtime", *rest]

    child._become, child._arguments, child._spawn = became, told, init.forked(became)


def _trace_zygote(zygote: Any, store: _Store) -> None:
    pair, fork, profile = zygote._fork_pair, zygote.fork, _profile(store.by)

    def begin(*arguments: Any) -> None:
        zygote._fork_pair = pair
        profile.enable()
        pair(*arguments)

    def forked(work: Callable[[], int], keep: Any) -> Any:
        def quiet() -> int:
            profile.disable()
            return work()

        return fork(quiet, keep)

    leave = zygote._leave

    def left(*arguments: Any) -> Any:
        profile.disable()
        store.number = 0
        store.keep(profile)
        return leave(*arguments)

    zygote._fork_pair, zygote.fork, zygote._leave = begin, forked, left


def traced(file: Path, skip: int) -> tuple[int, list[Line]]:
    """How many processes were traced, without the first ones, and what they found together."""
    found: dict[_Where, list[float]] = {}
    count = seen = 0
    with file.open("rb") as handle:
        for place in range(PLACES):
            handle.seek(place * ROOM)
            data = handle.read(int.from_bytes(handle.read(4), "big"))
            seen += bool(data)
            if data and seen > skip:
                count += 1
                for where, calls, own, whole in marshal.loads(data):
                    total = found.setdefault(where, [0, 0, 0])
                    for index, value in enumerate((calls, own, whole)):
                        total[index] += value
    return count, [Line(where, own, whole, int(calls)) for where, (calls, own, whole) in found.items()]
