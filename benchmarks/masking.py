"""How fast the masker is, beside `cat` through the same pipe, and what building it costs.

    python benchmarks/masking.py [--rounds 5] [--megabytes 256] [--secrets 10 100] [--beside OTHER_CHECKOUT] [--hostile]

A writer, a filter and a reader are joined by two pipes of the system's default size; the filter is `cat` or a
masker, with and without the package `hyperscan`; with 0 secrets it is Python alone, which no masker can be faster than.
All filters take turns in every round, so that a slow moment of the machine meets each of them, and each is put beside
the `cat` of its own round. The last column is the filter's own processor time beside that of `cat`: it says less of a
pipe, and depends less on what else the machine does. A masker is built before the writer starts. The text is a log in
which one line of a thousand shows a secret; the first run of each masker checks that none came out. With `--hostile` it
is made of what a masker has most work with, from a job that knows its secrets. Needs Linux (memory is read from /proc).
"""

import argparse
import base64
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(os.environ.get("MASKING_FROM", Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(ROOT))
if "MASKING_PLAIN" in os.environ:
    sys.modules["hyperscan"] = None  # type: ignore[assignment]

from executor.masking.masker import Masker
from executor.masking.needles import needles_for

COUNTS = (10, 100, 1000)
WRITES = (64 << 10, 200)
READ = 64 << 10
HOSTILE = (
    "beginnings of 7 bytes",
    "beginnings of 8 bytes",
    "all but the last byte",
    "secrets, nothing else",
    "one byte again and again",
)

Trees = dict[str, dict[str, str]]
"""Names of maskers, each with the variables that choose it."""

Filter = tuple[list[str], dict[str, str]]
"""A command, with its variables."""


def main() -> None:
    """Run the role named by the first argument; without one, the benchmark."""
    if len(sys.argv) > 1 and sys.argv[1] in ROLES:
        ROLES[sys.argv[1]](*map(int, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description="The masker's speed beside cat, and the cost of building it.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256, help="per filter and round; a quarter at small writes")
    parser.add_argument("--secrets", type=int, nargs="+", default=COUNTS, help="how many, in the pipe")
    parser.add_argument("--beside", type=Path, help="another checkout, whose masker takes its turns, too")
    parser.add_argument("--hostile", action="store_true", help="text that gives a masker most work, at 64 KiB")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {options.rounds} rounds, medians\n")
    trees: Trees = {"": {}, ", no extra": {"MASKING_PLAIN": "1"}}
    if options.beside:
        trees[", beside"] = {"MASKING_FROM": str(options.beside)}
    if options.hostile:
        report_hostile(options.rounds, trees)
        return
    report_throughput(options.rounds, options.megabytes << 20, trees, options.secrets)
    report_building(options.rounds, trees)


def report_throughput(rounds: int, total: int, trees: Trees, counts: Sequence[int]) -> None:
    """Print MB/s of `cat` and of maskers, and their ratio."""
    print(f"{'written in':>10}  {'filter':>22}  {'MB/s':>6}  {'of cat':>6}  {'(lowest to highest)':>19}  {'CPU':>5}")
    filters: dict[str, Filter] = {"cat": (["cat"], {}), "0 secrets": ([sys.executable, __file__, "filter", "0"], {})}
    for count in counts:
        for tree, variables in trees.items():
            filters[f"{count} secrets{tree}"] = ([sys.executable, __file__, "filter", str(count)], variables)
            check(filters[f"{count} secrets{tree}"], count)
    for size in WRITES:
        amount = total if size > 4096 else total // 4
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in filters}
        for _ in range(rounds):
            for name, filtering in filters.items():
                taken[name].append(seconds(filtering, size, amount))
        _, processor_of_cat = medians(taken["cat"])
        for name, series in taken.items():
            wall, processor = medians(series)
            ratios = [cat / one for (cat, _), (one, _) in zip(taken["cat"], series, strict=True)]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            print(
                f"{size:>8} B  {name:>22}  {amount / 1e6 / wall:>6.0f}  {statistics.median(ratios):>6.2f}  {spread:>19}"
                f"  {processor / processor_of_cat:>5.2f}"
            )


def report_hostile(rounds: int, trees: Trees) -> None:
    """Print MB/s of processor time for texts of beginnings of needles, in blocks of 64 KiB."""
    print(f"{'text':>28}  {'filter':>22}  {'MB/s of CPU':>11}  {'peak MB':>7}")
    for kind in HOSTILE:
        for count in COUNTS:
            series: dict[str, list[list[float]]] = {tree: [] for tree in trees}
            for _ in range(rounds):
                for tree, variables in trees.items():
                    command = [sys.executable, __file__, "hostile", str(HOSTILE.index(kind)), str(count)]
                    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | variables)
                    series[tree].append(json.loads(done.stdout))
            for tree, told in series.items():
                speed, memory = (statistics.median(column) for column in zip(*told, strict=True))
                print(f"{kind:>28}  {f'{count} secrets{tree}':>22}  {speed:>11.1f}  {memory:>7.1f}")


def medians(series: list[tuple[float, float]]) -> tuple[float, float]:
    """Of both columns."""
    wall, processor = zip(*series, strict=True)
    return statistics.median(wall), statistics.median(processor)


def check(filtering: Filter, count: int) -> None:
    """Stop the benchmark if a masker lets a secret through or masks nothing."""
    command, variables = filtering
    done = subprocess.run(command, input=sample() * 2, capture_output=True, check=True, env=os.environ | variables)
    shown = [name for name, value in secrets(count).items() if value in done.stdout]
    if shown or b"***" not in done.stdout:
        raise SystemExit(f"{len(shown)} of {count} secrets came out: no speed is worth that")


def seconds(filter: Filter, size: int, amount: int) -> tuple[float, float]:
    """From the writer's first byte to end-of-file at the reader; and of the filter's processor time."""
    command, variables = filter
    source, sink = os.pipe()
    filtering = subprocess.Popen(
        command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | variables
    )
    os.close(source)
    assert filtering.stdout is not None and filtering.stderr is not None
    if command[0] != "cat":
        filtering.stderr.readline()  # it is built
    writer = [sys.executable, __file__, "write", str(size), str(amount)]
    writing = subprocess.Popen(writer, stdout=sink, stderr=subprocess.PIPE, stdin=subprocess.PIPE)
    os.close(sink)
    assert writing.stderr is not None and writing.stdin is not None
    writing.stderr.readline()  # its text is ready
    before = processor_time(filtering.pid)
    start = time.perf_counter()
    writing.stdin.close()
    while os.read(filtering.stdout.fileno(), 1 << 20):
        pass
    taken = time.perf_counter() - start
    os.waitid(os.P_PID, filtering.pid, os.WEXITED | os.WNOWAIT)
    processor = processor_time(filtering.pid) - before
    for process in (writing, filtering):
        assert process.stderr is not None
        complaint = process.stderr.read().decode()
        if process.wait():
            raise SystemExit(f"{process.args!r} ended with {process.returncode}: {complaint}")
    return taken, processor


def processor_time(pid: int) -> float:
    """Seconds that a process has used; also of one that ended and is not collected yet."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def report_building(rounds: int, trees: Trees) -> None:
    """Print what building takes, memory, and what masking takes in a flood, each in fresh processes."""
    print(
        f"\n{'':>32}  {'build':>6}  {'(lowest to highest)':>19}  {'64 KiB':>6}  {'200 B':>6}  {'peak':>7}  {'flood':>5}"
    )
    for title, count, length in [
        *((f"{count} secrets", count, 0) for count in COUNTS),
        ("10 values of 64 KiB", 10, 64 << 10),
    ]:
        series: dict[str, list[list[float]]] = {tree: [] for tree in trees}
        for _ in range(2 * rounds):
            for tree, variables in trees.items():
                command = [sys.executable, __file__, "build", str(count), str(length)]
                done = subprocess.run(command, capture_output=True, check=True, env=os.environ | variables)
                series[tree].append(json.loads(done.stdout))
        for tree, told in series.items():
            building, blocks, lines, peaks, floods = zip(*told, strict=True)
            spread = f"({min(building):.2f} to {max(building):.2f})"
            speed = f"{statistics.median(blocks):>6.1f}  {statistics.median(lines):>6.2f}"
            memory = f"{statistics.median(peaks):>7.1f}  {statistics.median(floods):>5.1f}"
            print(f"{title + tree:>32}  {statistics.median(building):>6.2f}  {spread:>19}  {speed}  {memory}")


def filter_output(count: int) -> None:
    """What a supervisor does with one stream: read what is there, mask, write."""
    stream = Masker.build(secrets(count)).stream()
    os.write(2, b"ready\n")
    while data := os.read(0, READ):
        write_all(stream.feed(data))
    write_all(stream.finish())


def write(size: int, amount: int) -> None:
    """Write the sample again and again in pieces of `size` bytes, once stdin is closed."""
    text = sample()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    os.write(2, b"ready\n")
    os.read(0, 1)
    while amount > 0:
        for piece in pieces:
            write_all(piece)
        amount -= len(text)


def write_all(data: bytes) -> None:
    """Write to stdout."""
    while data:
        data = data[os.write(1, data) :]


def build(count: int, length: int) -> None:
    """Print what a masker takes, in a process that is as ready for it as a supervisor.

    Milliseconds of processor time for building it and masking a line; microseconds for 64 KiB and for 200 bytes in a
    flood; and by how many MB memory grew at the most, when it was built and in the flood.
    """
    values = secrets(count, length)
    text = sample()
    blocks, lines = ([text[at : at + size] for at in range(0, len(text), size)] for size in (READ, 200))
    Masker.build({"nothing": b"nothing to hide"}).stream().feed(b"nothing")
    gc.collect()
    gc.freeze()
    before = peak(anew=True)
    start = time.process_time()
    masker = Masker.build(values)
    masker.stream().feed(b"2026-01-01T12:00:00 INFO the first line\n")
    told = [(time.process_time() - start) * 1e3]
    built = peak()
    stream = masker.stream()
    for _ in range(16):
        for block in blocks:
            stream.feed(block)
    flooded = peak()
    for pieces in blocks, lines:
        start = time.process_time()
        for piece in pieces:
            stream.feed(piece)
        told.append((time.process_time() - start) / len(pieces) * 1e6)
    print(json.dumps([*told, (built - before) / 1024, (flooded - before) / 1024]))


def hostile(kind: int, count: int) -> None:
    """Print MB per second of processor time for a text of one kind, and by how many MB memory grew."""
    values = secrets(count)
    rnd = random.Random(1)
    found = [needle for value in values.values() for needle in needles_for(value)]
    if HOSTILE[kind] == "one byte again and again":
        values["SAME"] = b"a" * 40
        pieces = [b"a" * READ]
    else:
        ends = {"beginnings of 7 bytes": 7, "beginnings of 8 bytes": 8, "all but the last byte": -1}
        end = ends.get(HOSTILE[kind])
        pieces = [needle[:end] for needle in rnd.choices(found, k=20_000)]
    text = b"".join(pieces)
    blocks = [text[at : at + READ] for at in range(0, len(text), READ)]
    stream = Masker.build(values).stream()
    for _ in range(400 if count < 1000 else 1200):
        stream.feed(b" " * READ)  # it goes over to what reads fastest
    before, start, size = peak(anew=True), time.process_time(), 0
    while time.process_time() - start < 1:
        for block in blocks:
            stream.feed(block)
            size += len(block)
    print(json.dumps([size / 1e6 / (time.process_time() - start), (peak() - before) / 1024]))


def peak(anew: bool = False) -> int:
    """The most memory this process had resident, in KiB; or from now on."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def secrets(count: int, length: int = 0) -> dict[str, bytes]:
    """Tokens, hex keys, passwords with odd characters and database URLs, the same in each run."""
    values = {}
    for number in range(count):
        rnd = random.Random(number)
        if length:
            value = base64.b64encode(rnd.randbytes(length))[:length]
        else:
            value = (
                base64.b64encode(rnd.randbytes(24)),
                rnd.randbytes(20).hex().encode(),
                bytes(rnd.choices(range(33, 127), k=20)),
                b"postgresql://app:" + base64.urlsafe_b64encode(rnd.randbytes(12)) + b"@db:5432/shop",
            )[number % 4]
        values[f"SECRET_{number}"] = value
    return values


def sample() -> bytes:
    """4 MiB of log lines, in pieces that no write size divides evenly."""
    rnd = random.Random(0)
    words = (
        b"INFO WARNING worker task completed in seconds the of and batch order customer rows written to bucket"
        b" GET /var/lib/data/part.parquet POST HTTP/1.1 200 request_id= duration_ms= pool retry password= ok"
    ).split()
    shown = list(secrets(10).values())
    lines: list[bytes] = []
    length = 0
    while length < 4 << 20:
        line = b"2026-01-01T12:%02d:%02d " % (rnd.randrange(60), rnd.randrange(60))
        line += b" ".join(rnd.choices(words, k=12)) + b" %d" % rnd.randrange(10**9)
        if len(lines) % 1000 == 500:
            line += b" " + rnd.choice(shown)
        lines.append(line + b"\n")
        length += len(lines[-1])
    return b"".join(lines)


ROLES: dict[str, Callable[..., None]] = {"filter": filter_output, "write": write, "build": build, "hostile": hostile}

if __name__ == "__main__":
    main()
