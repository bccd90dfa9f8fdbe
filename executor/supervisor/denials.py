"""What a run's last words say that it was refused, where that comes of its sandbox: a hint, whatever the program.

Outside the source root a path is judged by its text alone: a hint must not tell a run what else is on the machine.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from executor.sandbox.confinement import View
from executor.sandbox.working import COPY, READ_ONLY
from executor.sandbox.working.owners import COPIED

# Not of servers: `permission denied for table orders`, `Permission denied (publickey)`.
_REFUSED = re.compile(r"permission denied(?!\s*\(| for | to )|read-only file system|\bEACCES\b|\bEROFS\b", re.I)
_ABSENT = re.compile(r"no such file or directory|\bENOENT\b|: not found", re.I)
# As Python, Node.js and the programs of GNU quote a path, and as shells and Go name one without quotes.
_QUOTED = re.compile("['`\"\u2018]([^'\"\u2019]+)['\"\u2019]")
_BARE = re.compile(r"(?:cannot (?:create|open)|line \d+:|\b(?:open|mkdir|remove|rename)) ([^\s:]+): ")
_ABSOLUTE = re.compile(r"(?:^|[\s:(])(/[^\s:()'\"]+)")
# As dash, bash and busybox say it: behind a line's number, or a shell's own name.
_NOT_FOUND = re.compile(r"(?:(?:: |line )\d+: |^\S*sh: )([\w.+-]+): (?:command )?not found$")
_LOOKED_UP = re.compile("env: ['\u2018]?([\\w.+-]+)['\u2019]?: No such file")

_PROGRAM = "the first line of a program asks for {0}, which the run does not find: sealrun run -- {0} PROGRAM"
_NO_PROGRAM = (
    "{0} is not on the run's PATH; have its package installed (--with PACKAGE), or start it by itself, so that it is"
    " looked for on yours: sealrun run -- {0}"
)
_SOURCE = "a run cannot write to its source here{why}; write files to keep to SEALRUN_OUTPUT_DIR, and others to TMPDIR"
_NOT_ITS_OWN = (
    "{0} belongs to another user than this run has, and was not copied for it: that is done with what others can read,"
    " up to 2,000 files and 64 MiB; "
)
_LENT = f"{_NOT_ITS_OWN}upload the source with the run (--bundle), or write to SEALRUN_OUTPUT_DIR"
_SHARED = f"{_NOT_ITS_OWN}have the worker's user own it, or write to SEALRUN_OUTPUT_DIR"
_ORIGINAL = (
    "{0} is the source itself, which no run writes to; its working folder is a copy: name the file relative to that"
)
_UNREADABLE = "{0} is not readable for others, and this run has a user id of its own: chmod o+r"
_READ_ONLY = "{0} is open to runs for reading alone; an operator opens folders to be changed: SEALRUN_WRITABLE"
_TEMPORARY = "{0} is closed to runs; files to keep go to SEALRUN_OUTPUT_DIR, and others to TMPDIR"
_ABOVE = (
    "{0} holds the source root and is closed to runs; move the project to where nothing above it is, such as a folder"
    " in /opt, or have an operator open {0}: SEALRUN_READABLE"
)
_HOME = "{0} is in a home folder, and those are closed to runs; put a copy into the source root"
_CLOSED = "{0} is closed to runs; put a copy into the source root, or have an operator open it: SEALRUN_READABLE"
_EMPTY = (
    "{0} is not there for a run, whose /tmp is its own and empty at first; put a copy into the source root, or have an"
    " operator open a folder of the machine's: SEALRUN_READABLE"
)
_OWN = ("/tmp", "/var/tmp")
"""What each run has of its own in a box."""


def hint(said: str, view: View, working: Mapping[str, Any], home: str) -> str | None:
    """Return what to do about the last refusal that comes of the sandbox; None where there is none.

    Args:
        said: the end of what the run printed, masked, stderr last.
        view: what the run could reach.
        working: its working folder and its source root, as the worker decided on them.
        home: the home folder of the worker's user.
    """
    for line in reversed(said.splitlines()):
        if found := _LOOKED_UP.search(line):
            return _PROGRAM.format(found[1])
        if found := _NOT_FOUND.search(line):
            return _NO_PROGRAM.format(found[1])
        refused = _REFUSED.search(line)
        if refused or _ABSENT.search(line):
            for path in _paths(line, working["folder"]):
                # In a box there is nothing but what a run is given; what is not there may be on the machine.
                ours = refused or view.rung == "namespace" or _within(path, view.covered)
                if ours and (told := _told(path, view, working, home, absent=not refused)):
                    why = f", as {working['why']}" if working.get("why") else ""
                    return told.format(_of_the_source(path, working), why=why)
    return None


def _paths(line: str, source: str) -> Iterator[str]:
    """Yield what may be paths in a line: what is quoted, what stands where a shell names a file, what begins with /."""
    for pattern in (_QUOTED, _BARE, _ABSOLUTE):
        for word in pattern.findall(line):
            yield os.path.normpath(os.path.join(source, word))


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _of_the_source(path: str, working: Mapping[str, Any]) -> str:
    """A path in a copy, as the one that it was copied from."""
    folder = working["folder"]
    return os.path.join(working["source"], os.path.relpath(path, folder)) if _within(path, (folder,)) else path


def _told(path: str, view: View, working: Mapping[str, Any], home: str, *, absent: bool) -> str | None:
    source = working["source"]
    if _within(path, (working["folder"],)) and working["how"] != READ_ONLY:
        if absent:
            return None
        if view.uid is not None and _is_closed(path):
            return _UNREADABLE
        return _of_another(path, view, working) if working.get("owners") == COPIED else None
    if _within(path, (source,)):
        found = _of_source(path, view)
        return _ORIGINAL if found == _SOURCE and working["how"] == COPY else found
    if _within(path, (*view.writable, *view.shared)):
        return None
    if _within(path, view.machine):
        return _READ_ONLY
    if _within(path, (*view.readable, *view.cached, "/dev")):
        return None
    if Path(source).is_relative_to(path):
        return _ABOVE
    if _within(path, (home, "/home", "/root")):
        return _HOME
    if _within(path, _OWN):
        if view.rung != "namespace":
            return _TEMPORARY
        return _EMPTY if absent else None
    return _CLOSED


def _is_closed(path: str) -> bool:
    """Whether it stands in a working folder for what others may not read."""
    try:
        return not os.lstat(path).st_mode & 0o777
    except OSError:
        return False


def _of_another(path: str, view: View, working: Mapping[str, Any]) -> str | None:
    """Tell whether it, or the folder that it would be made in, is somebody else's and was not copied into the layer."""
    upper, source = (os.path.realpath(working[name]) for name in ("upper", "source"))
    for one in (path, os.path.dirname(path)):
        above = os.path.normpath(os.path.join(upper, os.path.relpath(one, working["source"])))
        # Through a link it may be anything of the machine.
        elsewhere = os.path.realpath(above) != above or not _within(os.path.realpath(one), (source,))
        if elsewhere or os.path.lexists(above):
            return None
        try:
            found = os.lstat(one)
        except OSError:
            continue
        if found.st_uid == (os.geteuid() if view.uid is None else view.uid):
            return None
        if view.uid is None:
            return _SHARED
        return _LENT if found.st_mode & stat.S_IROTH else _UNREADABLE
    return None


def _of_source(path: str, view: View) -> str | None:
    """Tell a write from what would be refused outside of the sandbox as well: to start what is no program."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return _SOURCE
    if view.uid is not None and not mode & stat.S_IROTH:
        return _UNREADABLE
    is_script = stat.S_ISREG(mode) and Path(path).suffix in ("", ".sh") and not mode & stat.S_IXUSR
    return None if is_script else _SOURCE
