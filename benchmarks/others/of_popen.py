"""No peer but the floor: the job as a child of this process, by itself or inside what `wrapper` says."""

import ctypes
import os
import platform
import subprocess
import time
from typing import Any

from answering import PATIENCE, answer, asked

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    told = asked()
    # What bubblewrap leaves behind comes to this process, and is counted.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    command = [*told.get("wrapper", []), told["python"], told["job"]]
    environ = {"PATH": os.defpath, **told["values"]}

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)

    def one() -> dict[str, float]:
        began, cpu = time.time(), time.thread_time()
        process = start()
        cpu = time.thread_time() - cpu
        out, _ = process.communicate(timeout=PATIENCE)
        end = time.time()
        _collect()
        return {"start": (float(out.split()[0]) - began) * 1000, "end": (end - began) * 1000, "submit_cpu": cpu * 1000}

    def burst(count: int) -> float:
        began, left = time.monotonic(), count
        running: list[Any] = []
        while left or running:
            while left and len(running) < told["slots"]:
                running.append(start())
                left -= 1
            running.pop(0).communicate(timeout=PATIENCE)
        rate = count / (time.monotonic() - began)
        _collect()
        return rate

    answer(told.get("version", platform.python_version()), one, burst)


def _collect() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
