"""Remove what a run left, in a short-lived process.

File names are the run's choice and a command's environment holds its secrets, so whoever removes the files or searches
/proc sees plaintext. A worker lives long and must not.
"""

import contextlib
import subprocess
import sys
from pathlib import Path

from executor.sandbox import kernel, tree
from executor.sandbox.removal import remove

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from executor.sandbox.clearing import main; main(*sys.argv[2:])"


def clear(place: Path) -> None:
    """Remove a workspace; without a process if its supervisor has emptied it."""
    for folder in ("home", "tmp", "output", "private", "work", "written"):
        with contextlib.suppress(OSError):
            (place / folder).rmdir()
    try:
        place.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        _start(place)


def clear_orphan(place: Path, uid: int | None) -> None:
    """Kill the run's remaining processes (see `tree.sweep`), then remove its workspace."""
    _start(place, "sweep", *([] if uid is None else [str(uid)]))


def remove_apart(place: Path) -> None:
    """Remove what a run's setup left: it chose the file names and may know a secret."""
    _start(place)


def main(place: str, *sweep: str) -> None:
    """Run the short-lived process."""
    kernel.harden()
    if sweep:
        tree.sweep(place, int(sweep[1]) if len(sweep) > 1 else None)
    remove(Path(place))


def _start(place: Path, *arguments: str) -> None:
    command = [sys.executable, "-I", "-c", _CODE, str(Path(__file__).resolve().parents[2]), str(place), *arguments]
    # Its error output may quote a file name; a failure shows in what remains.
    subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, check=False
    )
