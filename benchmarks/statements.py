"""What a worker asks its database, run by run: each statement and commit as a line of a file."""

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

_OF_A_RUN = ("ThreadPoolExecutor", "sealrun-store")
"""What the threads are called that do something for a run; the others keep watch."""


def count(folder: Path) -> None:
    """In a worker, before it has a database: write a line for each statement that it executes."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    out = os.open(folder / "statements", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(words: str) -> None:
        os.write(out, f"{threading.current_thread().name}\t{' '.join(words.split())[:160]}\n".encode())

    def executed(_: Any, __: Any, statement: str, *___: Any) -> None:
        write(statement)

    event.listen(Engine, "before_cursor_execute", executed)
    event.listen(Engine, "commit", lambda _: write("COMMIT"))


def read(folder: Path, begin: int) -> tuple[Counter[str], Counter[str], int]:
    """From this byte on: what was executed for runs, what beside them, and where the file ends."""
    data = (folder / "statements").read_bytes()
    ours: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for line in data[begin:].decode().splitlines():
        thread, _, words = line.partition("\t")
        (ours if thread.startswith(_OF_A_RUN) else others)[words] += 1
    return ours, others, len(data)
