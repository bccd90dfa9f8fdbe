"""The files that a run left, written below a folder; a folder that is made for them is no source of the next run."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from executor.source.root import source_root
from secretstore.errors import FolderUnusable, SealrunError

_LEFT_OUT = "# Made by sealrun for what a run left, which is not uploaded; remove this file to have it uploaded.\n*\n"


def make_folder(folder: Path) -> None:
    """Make a folder to write files of a run to; a new one within the source root of who asks is left out of uploads.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    # A folder that cannot be a source root is not uploaded anyway.
    with contextlib.suppress(SealrunError):
        if folder.resolve().is_relative_to(source_root(Path.cwd(), None)):
            (folder / ".sealrunignore").write_text(_LEFT_OUT)


def write(folder: Path, path: str, parts: Iterable[bytes], executable: bool = False) -> Path | None:
    """Write a file below a folder, and return where; one that is there is replaced whole. None where it may not be.

    A path was chosen by the run's code, so it is not trusted: it cannot leave the folder, by `..` or by a link.

    Raises:
        FolderUnusable: it could not be written.
    """
    names = PurePosixPath(path).parts
    if not names or ".." in names or PurePosixPath(path).is_absolute() or "\0" in path:
        return None
    target = folder.joinpath(*names)
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        return None
    # Of no name that a run could have chosen, and not longer than one.
    partial = target.with_name(f".{secrets.token_hex(16)}.part")
    try:
        make_folder(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb", opener=_with_mode(0o777 if executable else 0o666)) as out:
            for data in parts:
                out.write(data)
        os.replace(partial, target)
    except OSError as error:
        raise FolderUnusable(
            "{path} could not be written: {why}",
            path=target,
            why=os.strerror(error.errno or 0),
            hint="choose an empty folder; a run may leave names that this file system takes for one another",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def _with_mode(mode: int) -> Callable[[str, int], int]:
    """Opens a new file with what the user's own umask leaves of a mode."""
    return lambda path, flags: os.open(path, flags, mode)
