"""Hand folders to a builder of Python environments and take them back, in a short-lived process.

A build runs third-party code, which may know a secret and chooses its file names: whoever walks them sees plaintext. A
worker lives long and must not; it gets digests and numbers.

Nothing in the folders is trusted: no link is followed, and no file with a hard link elsewhere becomes ours.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from executor.sandbox import kernel
from executor.sandbox.removal import remove

LOCK_LIMIT = 16 << 20  # bytes
_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from executor.sandbox.handover import main; main(*sys.argv[2:])"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def lend(folder: Path, uid: int) -> "subprocess.Popen[bytes]":
    """Give a folder and its contents to a user id; empty it instead if something in it is odd."""
    return _start("lend", str(folder), str(uid))


def take(draft: Path, seed: str, uv_cache: Path) -> "subprocess.Popen[bytes]":
    """Take a draft back: `env` becomes ours and read-only, `build` is removed. `taken` reads the result.

    Args:
        draft: the folder of the build.
        seed: goes into the environment's digest, with its lock.
        uv_cache: the folder to measure.
    """
    return _start("take", str(draft), seed, str(uv_cache))


def taken(process: "subprocess.Popen[bytes]") -> dict[str, Any] | None:
    """Wait for `take` and return its findings: digests of lock and environment, `built`, sizes.

    None if the draft must not be used.
    """
    said = process.communicate()[0]
    return json.loads(said) if process.returncode == 0 else None


def main(act: str, folder: str, *words: str) -> None:
    """Run the short-lived process."""
    kernel.harden()
    if act == "lend":
        _lend(Path(folder), int(words[0]))
    else:
        sys.stdout.write(json.dumps(_take(Path(folder), words[0], Path(words[1]))))


def _start(act: str, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-I", "-c", _CODE, str(Path(__file__).resolve().parents[2]), act, *arguments]
    # Its error output may quote a file name; its status says that it failed.
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
    )


class _Odd(Exception):
    """something in a folder is not a file, folder or link, or has a hard link elsewhere"""


def _lend(folder: Path, uid: int) -> None:
    try:
        files = [found for _, _, found in _members(folder) if stat.S_ISREG(found.st_mode)]
        names = Counter((found.st_dev, found.st_ino) for found in files)
        if any(names[found.st_dev, found.st_ino] != found.st_nlink for found in files):
            raise _Odd  # git hard-links within uv's cache; a link from outside makes it somebody else's file
        for at, name, found in _members(folder):
            if found.st_uid != uid:
                os.chown(name, uid, uid, dir_fd=at, follow_symlinks=False)
        os.chown(folder, uid, uid)
    except (OSError, RecursionError, _Odd):
        remove(folder)
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, uid)


def _take(draft: Path, seed: str, uv_cache: Path) -> dict[str, Any]:
    lock = _lock(draft / "build/lock.txt")
    env = draft / "env"
    built = os.path.lexists(env / "bin/python")
    size = 0
    if built:
        for at, name, found in _members(env):
            size += found.st_blocks * 512
            _own(at, name, found)
        handle = os.open(env, _OPEN | os.O_DIRECTORY)
        _own_handle(handle, 0o555)
    remove(draft / "build")
    return {
        "lock": hashlib.sha256(lock).hexdigest(),
        "digest": hashlib.sha256(seed.encode() + lock).hexdigest(),
        "built": built,
        "bytes": size,
        "uv_bytes": sum(found.st_blocks * 512 for _, _, found in _members(uv_cache)),
    }


def _lock(path: Path) -> bytes:
    with os.fdopen(os.open(path, _OPEN), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > LOCK_LIMIT:
            raise _Odd
        return file.read(LOCK_LIMIT)


def _own(at: int, name: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        if os.geteuid() == 0:
            os.chown(name, 0, 0, dir_fd=at, follow_symlinks=False)
        return
    handle = os.open(name, _OPEN, dir_fd=at)
    opened = os.fstat(handle)
    if stat.S_ISDIR(opened.st_mode):
        _own_handle(handle, 0o555)
    elif stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1:
        _own_handle(handle, 0o555 if opened.st_mode & 0o111 else 0o444)
    else:
        raise _Odd


def _own_handle(handle: int, mode: int) -> None:
    try:
        if os.geteuid() == 0:
            os.fchown(handle, 0, 0)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def _members(folder: Path) -> Iterator[tuple[int, str, os.stat_result]]:
    """Yield everything beneath a folder, with a descriptor of its parent; follow no link."""

    def refuse(error: OSError) -> None:
        raise error

    for _, folders, files, at in os.fwalk(folder, topdown=True, onerror=refuse):
        for name in (*folders, *files):
            yield at, name, os.lstat(name, dir_fd=at)
