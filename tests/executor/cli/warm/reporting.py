"""Commands that tell what they find, in the place of sealrun's own, for a cold process and for a warm one."""

import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path


def report() -> None:
    """What a command could see of how it was started, or whatever else its first word asks for."""
    word = sys.argv[2]
    if word == "exit":
        sys.exit(int(sys.argv[3]))
    if word == "raise":
        raise RuntimeError("of the command")
    if word == "die":
        os.kill(os.getpid(), int(sys.argv[3]))
    if word == "wait":
        heard = []
        for number in (signal.SIGUSR1, signal.SIGWINCH):
            signal.signal(number, lambda number, _: heard.append(number))
        print(os.getpid(), flush=True)
        while len(heard) < 2:
            time.sleep(0.01)
        print(*map(int, heard), flush=True)
        time.sleep(60)
    if word == "ask":
        print(input("well? "), sys.stdin.isatty(), flush=True)
    if word == "see":
        json.dump(_seen(), sys.stdout)
    sys.exit(0)


def _seen() -> dict[str, object]:
    status = dict(line.partition(":\t")[::2] for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "environment": dict(os.environ),
        "words": sys.argv[1:],
        "folder": os.getcwd(),
        "path": sys.path[1:],
        "umask": status["Umask"],
        "signals": [status[name] for name in ("SigBlk", "SigIgn")],
        "interrupt": str(signal.getsignal(signal.SIGINT)),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "zone": time.tzname,
        "streams": [
            (one.encoding, one.errors, one.line_buffering, one.write_through, one.isatty(), one.newlines)
            for one in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "width": shutil.get_terminal_size().columns,
        "given": sys.stdin.read(),
        "descriptors": sorted(int(one) for one in os.listdir("/proc/self/fd") if one not in ("3", "4")),
        "threads": threading.active_count(),
        "user": [os.getresuid(), os.getresgid(), os.getgroups()],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
    }
