"""What is read of somebody else's folder: a regular file's beginning, and nothing that waits or never ends."""

import os
import time
from pathlib import Path

import pytest

from executor.python.choice import is_binary
from executor.python.layout import interpreter_paths, shebang
from executor.sandbox.reading import head_of


def environment(prefix: Path) -> Path:
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin/python"
    python.write_text("\x7fELF")
    python.chmod(0o755)
    return python


def odd(path: Path, kind: str) -> Path:
    """A file that is none, or has no end that is soon reached."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "terminal":
        path.symlink_to("/dev/tty")
    elif kind == "folder":
        path.mkdir()
    else:
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    return path


def test_a_regular_files_beginning_is_read(tmp_path: Path) -> None:
    """Through a link, too; no more than is asked for."""
    (tmp_path / "file").write_bytes(b"#!/bin/sh\nexit")
    (tmp_path / "link").symlink_to("file")
    assert head_of(tmp_path / "link", 5) == b"#!/bi"
    assert head_of(tmp_path / "file", 1 << 16) == b"#!/bin/sh\nexit"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["pipe", "endless", "terminal", "folder", "huge"])
def test_i7_no_file_of_a_source_keeps_a_worker_waiting(tmp_path: Path, kind: str) -> None:
    """A slot that waits on a pipe is gone for good; a file without an end takes the worker's memory."""
    python = environment(tmp_path / ".venv")
    odd(tmp_path / ".venv/pyvenv.cfg", kind)
    began = time.monotonic()
    assert interpreter_paths(str(python))[0] == python
    script = odd(tmp_path / "script", kind)
    assert shebang(script) == []
    assert is_binary(script)
    assert time.monotonic() - began < 5


def test_an_environment_that_says_much_is_read_as_far_as_it_counts(tmp_path: Path) -> None:
    """64 KiB are many times what any tool writes there."""
    base = environment(tmp_path / "base")
    python = environment(tmp_path / "venv")
    (tmp_path / "venv/pyvenv.cfg").write_text(f"home = {base.parent}\n" + "x = y\n" * 1_000_000)
    assert base.parent in interpreter_paths(str(python))[1]
