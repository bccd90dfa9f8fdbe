"""Builds a Python environment: runs inside the installer's sandbox, in the interpreter that the environment is for.

Standard library only, any Python from 3.8: it comes as text, and has no path in the installer's world. It calls uv to
resolve, and unless the worker has an environment of just that lock, to install.
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
    """uv speaks on stderr; what it would print beside is in the file it writes."""
    status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if status:
        sys.exit(status if status > 0 else 128 - status)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
