"""Too much of something, within bounds: what is beyond a limit, and never more than is said here."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from . import kit
from .kit import attack, word

Plan = dict[str, Any]
Got = tuple  # of a verdict and how
CHILDREN = 64
LINGERS = 3.0
"""Seconds for whoever looks at it from time to time, where the kernel does not count; then it has had it."""

PASSED_ON = 0.5
"""Seconds in which what was printed before is passed on: with an outcome nobody listens any more."""

MEMORY, DISK, LINE = 256 << 20, 64 << 20, 32 << 20
PIECE = 4 << 20


@attack("fork-bomb")
def fork_bomb(plan: Plan) -> Got:
    """So many children at most; the limit that was asked for is lower."""
    made: list[int] = []
    try:
        while len(made) < CHILDREN:
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                signal.pause()
            made.append(pid)
        time.sleep(LINGERS)
    except OSError as error:
        return False, f"{word(error)} after {len(made)}"
    finally:
        for pid in made:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return True, f"{len(made)} processes"


@attack("memory-bomb")
def memory_bomb(plan: Plan) -> Got:
    """Touched page by page, so that it is really had."""
    held = []
    for _ in range(MEMORY // PIECE):
        held.append(bytearray(b"x" * PIECE))
    time.sleep(LINGERS)
    return True, f"{len(held) * PIECE >> 20} MB"


@attack("disk-filler")
def disk_filler(plan: Plan) -> Got:
    """One file with its name, which is no more than it was given, and the others without: they stay open."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    written, held = 0, []
    try:
        for number in range(8):
            path = os.path.join(os.environ["TMPDIR"], f"fill-{number}")
            held.append(open(path, "wb", 0))  # noqa: SIM115  # to stay open
            if number:
                os.unlink(path)
            for _ in range(DISK // 8 // PIECE):
                written += held[-1].write(b"x" * PIECE)
    except OSError as error:
        return False, f"{word(error)} after {written >> 20} MB"
    time.sleep(LINGERS)
    return True, f"{written >> 20} MB"


@attack("endless-line")
def endless_line(plan: Plan) -> Got:
    piece = b"x" * PIECE
    for _ in range(LINE // PIECE):
        left = piece
        while left:
            left = left[os.write(2, left) :]
    return False, "the worker took what it keeps"


@attack("forged-frames")
def forged(plan: Plan) -> Got:
    """An outcome of its own wording, on every descriptor; and one that is a socket would be the supervisor's."""
    time.sleep(PASSED_ON)
    frame = b'{"reason": null, "exit_code": 0, "signal": null, "metrics": {}, "tree_ended": true}'
    kinds = []
    for fd in range(3, 256):
        if fd == kit.telling:
            continue
        try:
            kind = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        kinds.append(kind.split(":")[0])
        try:
            os.set_blocking(fd, False)
            os.write(fd, b"\x29" + len(frame).to_bytes(4, "big") + frame)
        except OSError:
            pass
    return "socket" in kinds, f"{len(kinds)} descriptors: {', '.join(sorted(set(kinds)))}"


@attack("deep-result")
def deep_result(plan: Plan) -> Got:
    """Where a result goes: a megabyte, as deep as it is long."""
    text = b'{"result": ' + b"[" * (1 << 20)
    try:
        os.set_blocking(4, True)
        while text:
            text = text[os.write(4, text) :]
    except OSError as error:
        return False, word(error)
    sys.stdout.flush()
    return False, "written"
