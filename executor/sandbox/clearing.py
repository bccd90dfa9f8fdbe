"""Clear up what a run left, in a process of its own that ends.

A run chooses the names of its files, and the environment of a command holds its secrets: whoever removes the one and
looks for remains by the other has seen plaintext. A worker lives long and must not.
"""

import contextlib
import subprocess
import sys
from pathlib import Path

from executor.sandbox import kernel, tree
from executor.sandbox.removal import remove

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from executor.sandbox.clearing import main; main(*sys.argv[2:])"


def clear(place: Path) -> None:
    """Remove a workspace; at once where its supervisor has emptied it."""
    for folder in ("home", "tmp", "output", "private"):
        with contextlib.suppress(OSError):
            (place / folder).rmdir()
    try:
        place.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        _start(place)


def clear_orphan(place: Path, uid: int | None) -> None:
    """The same, after the end of every process that is left of the run; see `tree.sweep`."""
    _start(place, "sweep", *([] if uid is None else [str(uid)]))


def remove_apart(place: Path) -> None:
    """Remove what a run's setup left: it chose the names in it, and may have been given a secret."""
    _start(place)


def main(place: str, *sweep: str) -> None:
    """The process itself."""
    kernel.harden()
    if sweep:
        tree.sweep(place, int(sweep[1]) if len(sweep) > 1 else None)
    remove(Path(place))


def _start(place: Path, *arguments: str) -> None:
    command = [sys.executable, "-I", "-c", _CODE, str(Path(__file__).resolve().parents[2]), str(place), *arguments]
    # What it has to say could quote a name; that it failed is seen from what is still there.
    subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, check=False
    )
