"""Whether a layer can be laid over a source on this machine: tried once for each pair of file systems.

A process of its own tries it, since who asks has threads, and must keep its mounts.
"""

import os
import subprocess
import sys
from pathlib import Path

from executor.sandbox.removal import remove
from executor.sandbox.working import layers

_CODE = (
    "import sys; sys.path[:0] = [sys.argv[1]]; from executor.sandbox.working.trying import main; main(*sys.argv[2:])"
)
_PATIENCE = 30.0  # seconds
_found: dict[tuple[int, int], str | None] = {}


def refused(source: Path, root: Path) -> str | None:
    """Tell why no layer in a folder of workspaces can be laid over a source; None where that works."""
    pair = os.stat(source).st_dev, os.stat(root).st_dev
    if pair not in _found:
        _found[pair] = _tried(source, root)
    return _found[pair]


def _tried(source: Path, root: Path) -> str | None:
    command = [sys.executable, "-I", "-c", _CODE, str(Path(__file__).resolve().parents[3]), str(source), str(root)]
    try:
        asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return "it could not be tried"
    finally:
        for left in root.glob(".try-*"):
            remove(left)
    said = asked.stdout.decode(errors="replace").strip()
    return said or (None if asked.returncode == 0 else "it could not be tried")


def main(source: str, root: str) -> None:
    """Try it, and print the kernel's word for a refusal."""
    try:
        layers.attempt(source, root)
    except OSError as error:
        print((error.strerror or "refused").lower())
