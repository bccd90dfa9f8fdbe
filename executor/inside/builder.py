"""Build a Python environment: runs in the installer's sandbox, in the interpreter that the environment is for.

Standard library only, any Python from 3.8: it comes as text, without a path in the sandbox. It calls uv to resolve,
and, unless the worker already has an environment of that lock, to install.
"""

import hashlib
import json
import signal
import subprocess
import sys


def main(plan):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for command in plan["resolve"]:
        call(command)
    with open("lock.txt", "rb") as file:
        digest = hashlib.sha256(plan["seed"].encode() + file.read()).hexdigest()
    if digest not in plan["known"]:
        for command in plan["install"]:
            call(command)


def call(command):
    """Run uv, which reports on stderr; its stdout only repeats the file that it writes."""
    status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if status:
        sys.exit(status if status > 0 else 128 - status)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
