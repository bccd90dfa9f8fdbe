"""Folders that sealrun makes for the files that a run left: what lies in them is no source of the next run."""

import contextlib
from pathlib import Path

from executor.source.root import source_root
from secretstore.errors import SealrunError

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
