"""Ask a program that looks into a folder of somebody else's, whose configuration may name other programs.

It may execute nothing but itself, start nothing, change no file, and say no more than a little: the kernel sees to it,
with Landlock. Where there is none the program is not asked.
"""

import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox import kernel
from executor.sandbox.reading import head_of

SAID_LIMIT = 1 << 16
"""Bytes that are kept of each of its two streams; it is ended where it says more."""

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from executor.sandbox.asking import main; main(*sys.argv[2:])"
_NOT_ASKED = 125
_MEMORY = 1 << 30  # bytes of its own; what it maps of files does not count
_PROCESSOR = 10  # seconds, should nobody be left to end it
_INTERPRETER = 3  # the kind of an ELF file's segment that names what loads it


@dataclass(frozen=True)
class Said:
    """What a program said; `whole` is False where it was ended for saying more."""

    status: int
    out: bytes
    err: bytes
    whole: bool


def is_program(path: Path) -> bool:
    """Whether it is a file that may be executed."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def found_on(search_path: str, name: str, outside: Path | None = None) -> Path | None:
    """The program of a name on a search path; never one that the current folder, or `outside`, would have us execute.

    So folders of the search path that are not absolute are passed over, and what lies, or leads, into `outside`.
    """
    for entry in search_path.split(os.pathsep):
        found = Path(entry) / name
        if os.path.isabs(entry) and is_program(found) and not (outside and lies_in(found, outside)):
            return found
    return None


def lies_in(program: Path, folder: Path) -> bool:
    """Whether a program is one of a folder's, by its name or by where a link leads."""
    within = os.path.realpath(folder)
    return any(Path(one).is_relative_to(within) for one in (program, os.path.realpath(program)))


def ask(program: Path, words: Sequence[str], environ: Mapping[str, str], patience: float) -> Said | None:
    """What a binary program says, or None where it cannot be confined, or does not end within `patience` seconds."""
    command = [sys.executable, "-I", "-S", "-c", _CODE, str(Path(__file__).resolve().parents[2]), str(os.getpid())]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            ended = subprocess.run(
                [*command, str(program), *words],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environ, timeout=patience, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read(SAID_LIMIT))
    if ended.returncode == _NOT_ASKED:
        return None
    return Said(ended.returncode, said[0], said[1], ended.returncode != -signal.SIGXFSZ)


def main(parent: str, program: str, *words: str) -> None:
    """Become the program, bound: in the process that `ask` starts."""
    try:
        kernel.die_with_parent(signal.SIGKILL, int(parent))
        _bind([program, *_loader(Path(program))])
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and a new program would go on doing so
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(program, [program, *words])
    except (OSError, ValueError, struct.error):
        os._exit(_NOT_ASKED)


def _bind(executes: Sequence[str]) -> None:
    """Give up what the program does not need; for good.

    Raises:
        OSError: this kernel has no Landlock.
    """
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,  # it starts nothing; root may, and finds nothing to execute
        resource.RLIMIT_FSIZE: SAID_LIMIT,
        resource.RLIMIT_DATA: _MEMORY,
        resource.RLIMIT_CPU: _PROCESSOR,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    kernel.forbid_new_privileges()
    rules = kernel.Ruleset()
    rules.allow("/", kernel.FS_READ_FILE | kernel.FS_READ_DIR)
    rules.allow(os.devnull, kernel.FS_READ_FILE | kernel.FS_WRITE_FILE)
    for path in executes:
        rules.allow(path, kernel.FS_READ_FILE | kernel.FS_EXECUTE)
    rules.restrict_self()


def _loader(program: Path) -> list[str]:
    """What the kernel executes to load a binary; none for one that needs no such.

    Raises:
        ValueError: it is no binary that we know to read, such as a script, which somebody else would have to execute.
    """
    head = head_of(program, 1 << 16)
    if head[:5] != b"\x7fELF\x02":
        raise ValueError
    order = "<" if head[5] == 1 else ">"
    (segments,) = struct.unpack_from(f"{order}Q", head, 32)
    size, number = struct.unpack_from(f"{order}HH", head, 54)
    for at in range(segments, segments + size * number, size):
        kind, _, place = struct.unpack_from(f"{order}IIQ", head, at)
        if kind == _INTERPRETER:
            return [os.fsdecode(head[place:].split(b"\0")[0])]
    return []
