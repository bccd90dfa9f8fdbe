"""How fast the masker is, beside `cat` through the same pipe, and what building it costs.

    python benchmarks/masking.py [--rounds 5] [--megabytes 256]

A writer, a filter and a reader are joined by two pipes of the system's default size; the filter is `cat` or a
masker. All filters take turns in every round, so that a slow moment of the machine meets each of them. A
masker is built before the writer starts. The text is a log in which one line of a thousand shows a secret;
the first run of each masker checks that none came out. Needs Linux (memory is read from /proc).
"""

import argparse
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from executor.masking.masker import Masker

COUNTS = (10, 100, 1000)
WRITES = (64 << 10, 200)
READ = 64 << 10


def main() -> None:
    """Run the role named by the first argument; without one, the benchmark."""
    if len(sys.argv) > 1 and sys.argv[1] in ROLES:
        ROLES[sys.argv[1]](*map(int, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description="The masker's speed beside cat, and the cost of building it.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256, help="per filter and round; a quarter at small writes")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {options.rounds} rounds, medians\n")
    report_throughput(options.rounds, options.megabytes << 20)
    report_building(options.rounds)


def report_throughput(rounds: int, total: int) -> None:
    """Print MB/s of `cat` and of maskers, and their ratio."""
    print(f"{'written in':>10}  {'filter':>14}  {'MB/s':>6}  {'(lowest to highest)':>19}  {'of cat':>6}")
    filters: dict[str, list[str]] = {"cat": ["cat"]}
    filters |= {f"{count} secrets": [sys.executable, __file__, "filter", str(count)] for count in COUNTS}
    for count in COUNTS:
        check(filters[f"{count} secrets"], count)
    for size in WRITES:
        amount = total if size > 4096 else total // 4
        speeds: dict[str, list[float]] = {name: [] for name in filters}
        for _ in range(rounds):
            for name, command in filters.items():
                speeds[name].append(amount / 1e6 / seconds(command, size, amount))
        middle = {name: statistics.median(series) for name, series in speeds.items()}
        for name, series in speeds.items():
            spread = f"({min(series):.0f} to {max(series):.0f})"
            ratio = middle[name] / middle["cat"]
            print(f"{size:>8} B  {name:>14}  {middle[name]:>6.0f}  {spread:>19}  {ratio:>6.2f}")


def check(command: list[str], count: int) -> None:
    """Stop the benchmark if a masker lets a secret through or masks nothing."""
    done = subprocess.run(command, input=sample(), capture_output=True, check=True)
    shown = [name for name, value in secrets(count).items() if value in done.stdout]
    if shown or b"***" not in done.stdout:
        raise SystemExit(f"{len(shown)} of {count} secrets came out: no speed is worth that")


def seconds(command: list[str], size: int, amount: int) -> float:
    """From the writer's first byte to end-of-file at the reader."""
    source, sink = os.pipe()
    filtering = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(source)
    assert filtering.stdout is not None and filtering.stderr is not None
    if command[0] != "cat":
        filtering.stderr.readline()  # it is built
    writer = [sys.executable, __file__, "write", str(size), str(amount)]
    writing = subprocess.Popen(writer, stdout=sink, stderr=subprocess.PIPE, stdin=subprocess.PIPE)
    os.close(sink)
    assert writing.stderr is not None and writing.stdin is not None
    writing.stderr.readline()  # its text is ready
    start = time.perf_counter()
    writing.stdin.close()
    while os.read(filtering.stdout.fileno(), 1 << 20):
        pass
    taken = time.perf_counter() - start
    for process in (writing, filtering):
        assert process.stderr is not None
        complaint = process.stderr.read().decode()
        if process.wait():
            raise SystemExit(f"{process.args!r} ended with {process.returncode}: {complaint}")
    return taken


def report_building(rounds: int) -> None:
    """Print what building takes, each in fresh processes."""
    print(f"\n{'build for':>24}  {'ms':>6}  {'(lowest to highest)':>19}  {'peak MB':>7}")
    for title, count, length in [
        *((f"{count} secrets", count, 0) for count in COUNTS),
        ("10 values of 64 KiB", 10, 64 << 10),
    ]:
        series = []
        for _ in range(rounds):
            command = [sys.executable, __file__, "build", str(count), str(length)]
            series.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        times = [taken for taken, _ in series]
        spread = f"({min(times):.1f} to {max(times):.1f})"
        peak = statistics.median(memory for _, memory in series)
        print(f"{title:>24}  {statistics.median(times):>6.1f}  {spread:>19}  {peak:>7.1f}")


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
    """Print milliseconds and the growth of peak memory in MB."""
    values = secrets(count, length)
    before = peak()
    start = time.perf_counter()
    Masker.build(values)
    taken = time.perf_counter() - start
    print(json.dumps([taken * 1000, (peak() - before) / 1024]))


def peak() -> int:
    """The most memory this process had resident, in KiB."""
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


ROLES: dict[str, Callable[..., None]] = {"filter": filter_output, "write": write, "build": build}

if __name__ == "__main__":
    main()
