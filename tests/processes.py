"""What the tests read of processes, straight from /proc and without the product's own code."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], within: float, what: str | Callable[[], str]) -> T:
    """The first true answer of `look`, asked again and again for at most `within` seconds; else says what was not."""
    until = time.monotonic() + within
    while True:
        if found := look():
            return found
        if time.monotonic() > until:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within:g} seconds: {said}")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether it exists and is more than a zombie."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def alive(pids: Iterable[int]) -> list[int]:
    """Those that live."""
    return [pid for pid in pids if is_alive(pid)]


def children(pid: int) -> list[int]:
    """The direct children that live."""
    return [one for one in _all() if (fields := _stat(one)) and int(fields[1]) == pid and fields[0] != "Z"]


def descendants(pid: int) -> list[int]:
    """All living processes below one, parents first."""
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def name(pid: int) -> str:
    """Its `comm`, empty where it is gone."""
    return _text(pid, "comm").strip()


def arguments(pid: int) -> bytes:
    """Its command line, NUL between the words."""
    return _bytes(pid, "cmdline")


def innermost(pid: int) -> int:
    """Its number in the list of processes that it sees itself, which is another one in a box; 0 where it is gone."""
    found = [line for line in _text(pid, "status").splitlines() if line.startswith("NSpid:")]
    return int(found[0].split()[-1]) if found else 0


def environ(pid: int) -> dict[str, str]:
    """The environment it was started with."""
    pairs = (entry.partition(b"=") for entry in _bytes(pid, "environ").split(b"\0") if entry)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def of_run(run_id: str) -> list[int]:
    """Every living process that was started with this run's id in its environment, wherever it hangs now."""
    return [pid for pid in _all() if environ(pid).get("SEALRUN_RUN_ID") == run_id and is_alive(pid)]


def core_limit(pid: int) -> str:
    """Soft and hard limit of a core file, as /proc words them."""
    (line,) = [line for line in _text(pid, "limits").splitlines() if line.startswith("Max core file size")]
    return " ".join(line.split()[4:6])


def _all() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _stat(pid: int) -> list[str] | None:
    text = _text(pid, "stat")
    return text.rpartition(")")[2].split() if text else None


def _text(pid: int, file: str) -> str:
    return _bytes(pid, file).decode(errors="replace")


def _bytes(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""
