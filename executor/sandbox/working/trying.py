"""Whether a layer can be laid over a source on this machine: tried once for each pair of file systems.

A process of its own tries it, since who asks has threads, and must keep its mounts.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from executor.sandbox import kernel
from executor.sandbox.box import namespaces
from executor.sandbox.removal import remove
from executor.sandbox.working import layers
from executor.sandbox.workspace import LOCK, locked

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
    place = root / f"try-{secrets.token_hex(8)}"
    command = [sys.executable, "-I", "-c", _CODE, str(Path(__file__).resolve().parents[3]), str(source), str(place)]
    # Held as a workspace is, so that it is cleared away as one should this worker be killed meanwhile.
    with locked(root / f"{LOCK}{place.name}"):
        try:
            place.mkdir(mode=0o700)
            asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=_PATIENCE)
        except (OSError, subprocess.SubprocessError):
            return "it could not be tried"
        finally:
            remove(place)
    said = asked.stdout.decode(errors="replace").strip()
    return said or (None if asked.returncode == 0 else "it could not be tried")


def main(source: str, place: str) -> None:
    """Try it, and print the kernel's word for a refusal."""
    try:
        _lay(source, Path(place))
    except OSError as error:
        print((error.strerror or "refused").lower())


def _lay(source: str, place: Path) -> None:
    """Lay a layer over a source, in namespaces of this process's own, and write in it.

    Raises:
        OSError: this machine does not grant it, for these file systems at least.
    """
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(namespaces.NEWNS | (namespaces.NEWUSER if uid else 0))
    if uid:
        namespaces.map_user(uid, gid)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    target = place / "seen"
    target.mkdir()
    layers.prepare_written(place / "written", None)
    below, written = (os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in (source, place / "written"))
    layers.mount_over(below, written, str(target), None)
    (target / ".sealrun-try").touch()
    (target / ".sealrun-try").unlink()
