"""Where a command's program is on the submitter's machine: what is named is looked for as a shell would look."""

import os
import re
from pathlib import Path

from executor.python import shims
from executor.python.layout import shebang
from executor.sandbox.asking import is_program, lies_in
from executor.sandbox.reading import head_of

_PYTHONS = ("python", "python3")
# A run's own PATH has these, so nothing has to be said of what is there.
_ON_EVERY_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
# As pyenv, rbenv and nodenv write them: a script that looks up which version is meant.
_SHIM = re.compile(rb'exec "?(/\S+/libexec/(?:py|rb|nod)env)"? exec ')
_SCRIPT_READ = 4096


def programs_of(argv: tuple[str, ...], root: Path, search_path: str) -> list[str]:
    """The program that a command names, and the one that its first line looks up with `env`, where runs lack them.

    Empty where it is in the source root, in the folders of every run's PATH, or nowhere: then the run looks for it.
    The paths are only told: the worker decides what of them a run may reach.
    """
    name = argv[0]
    if "/" in name:
        found = Path(os.path.normpath(root / name))
        return [] if found.is_relative_to(root) or not is_program(found) else [str(found)]
    if name in _PYTHONS or (program := _on_path(name, search_path, root)) is None:
        return []
    asked_for = _looked_up_by(program)
    other = _on_path(asked_for, search_path, root) if asked_for is not None and asked_for not in _PYTHONS else None
    return [str(one) for one in (program, other) if one is not None and str(one.parent) not in _ON_EVERY_PATH]


def _on_path(name: str, search_path: str, root: Path) -> Path | None:
    for entry in search_path.split(os.pathsep):
        found = Path(entry).absolute() / name
        if not entry or not is_program(found):
            continue
        # The current folder's is told and not asked: it would have us execute it.
        program = _behind(found, root) if os.path.isabs(entry) else found
        if program is not None:
            return program
    return None


def _behind(found: Path, root: Path) -> Path | None:
    """What a shim leads to: its owner is asked, a program of the submitter's own on the submitter's own PATH.

    A script of the source root's names what it likes as its owner: it is no shim.
    """
    try:
        shim = None if lies_in(found, root) else _SHIM.search(head_of(found, _SCRIPT_READ))
    except OSError:
        return found
    if shim is None:
        return found
    owner = Path(os.fsdecode(shim[1]))
    return None if lies_in(owner, root) else shims.ask([str(owner), "which", found.name], root)


def _looked_up_by(program: Path) -> str | None:
    words = shebang(program)
    if not words or Path(words[0]).name != "env":
        return None
    return next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
