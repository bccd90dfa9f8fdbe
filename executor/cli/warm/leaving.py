"""Start a warm process for the next command, with nothing of this one's."""

import contextlib
import fcntl
import os
import secrets
import subprocess
import sys
from pathlib import Path

from executor.cli.warm import circumstances, place, wire
from executor.settings import read_here
from secretstore.errors import SealrunError
from secretstore.home import ensure_home

_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from executor.cli.warm.template import main; main()"
_MOST = 4
"""Warm processes of a home: each login, container and environment of Python has its own."""


def leave(home: str, facts: list[bytes]) -> None:
    """Start one if there is none for these circumstances. Where none can be, commands go on starting cold."""
    with contextlib.suppress(SealrunError, OSError, place.Closed):
        seconds = read_here().warm
        interpreter = circumstances.of_interpreter()
        if not seconds or interpreter is None:
            return
        _make_folder(Path(home))
        with place.opened(home) as folder:
            lock = os.open(
                f"{circumstances.name_of(facts)}.lock",
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=folder,
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else there is one, or it is being started
                _end_others(folder)
                _start(home, folder, lock, seconds, interpreter)
            finally:
                os.close(lock)


def _make_folder(home: Path) -> None:
    ensure_home(home)
    with contextlib.suppress(FileExistsError):
        os.mkdir(home / place.FOLDER, 0o700)
    with place.opened(str(home)) as folder, contextlib.suppress(FileExistsError):
        partial = f".{secrets.token_hex(8)}"
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            os.write(fd, secrets.token_hex(place.WORD_LENGTH // 2).encode())
            # Whole or not at all; if two race, the first one's stays.
            os.link(partial, place.WORD, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(fd)
            os.unlink(partial, dir_fd=folder)


def _end_others(folder: int) -> None:
    """Make room for one more: a warm process whose socket is gone ends by itself."""
    names = [name for name in os.listdir(folder) if not name.endswith(".lock") and name not in (place.WORD, "log")]
    used = {name: os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns for name in names}
    for name in sorted(used, key=lambda name: used[name])[: max(0, len(used) - _MOST + 1)]:
        os.unlink(name, dir_fd=folder)


def _start(home: str, folder: int, lock: int, seconds: int, interpreter: list[bytes]) -> None:
    root = str(Path(__file__).resolve().parents[3])
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with open(log, "wb") as said:
        process = subprocess.Popen(
            [sys.executable, *circumstances.options(), "-c", _CODE, root],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            # Nothing of this command's: it may hold passwords. The encoding is the one that it has, too.
            env={"LANG": "C.UTF-8"},
            cwd="/",
            pass_fds=[lock],
            start_new_session=True,
        )
    path = [os.fsencode(one) for one in (root, *sys.path[1:])]
    assert process.stdin is not None
    with process.stdin as given:
        given.write(wire.pack([[b"%d" % lock, b"%d" % seconds, os.fsencode(home)], interpreter, path]))
    process.returncode = 0  # it outlives this command, which is what Popen would warn of
