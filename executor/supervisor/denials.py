"""What a run's last words say that it was refused, where that comes of its sandbox: a hint, whatever the program.

Outside the source root a path is judged by its text alone: a hint must not tell a run what else is on the machine.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from executor.sandbox.confinement import View

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
_SOURCE = "a run cannot write to the source root; write files to keep to SEALRUN_OUTPUT_DIR, and others to TMPDIR"
_UNREADABLE = "{0} is not readable for others, and this run has a user id of its own: chmod o+r"
_READ_ONLY = "{0} is open to runs for reading alone; an operator opens folders to be changed: SEALRUN_WRITABLE"
_TEMPORARY = "{0} is closed to runs; files to keep go to SEALRUN_OUTPUT_DIR, and others to TMPDIR"
_ABOVE = (
    "{0} holds the source root and is closed to runs; move the project to where nothing above it is, such as a folder"
    " in /opt, or have an operator open {0}: SEALRUN_READABLE"
)
_HOME = "{0} is in a home folder, and those are closed to runs; put a copy into the source root"
_CLOSED = "{0} is closed to runs; put a copy into the source root, or have an operator open it: SEALRUN_READABLE"


def hint(said: str, view: View, source: str, home: str) -> str | None:
    """Return what to do about the last refusal that comes of the sandbox; None where there is none.

    Args:
        said: the end of what the run printed, masked, stderr last.
        view: what the run could reach.
        source: its source root and working directory.
        home: the home folder of the worker's user.
    """
    for line in reversed(said.splitlines()):
        if found := _LOOKED_UP.search(line):
            return _PROGRAM.format(found[1])
        if found := _NOT_FOUND.search(line):
            return _NO_PROGRAM.format(found[1])
        refused = _REFUSED.search(line)
        if refused or _ABSENT.search(line):
            for path in _paths(line, source):
                ours = refused or _within(path, view.covered)
                if ours and (told := _told(path, view, source, home)):
                    return told.format(path)
    return None


def _paths(line: str, source: str) -> Iterator[str]:
    """Yield what may be paths in a line: what is quoted, what stands where a shell names a file, what begins with /."""
    for pattern in (_QUOTED, _BARE, _ABSOLUTE):
        for word in pattern.findall(line):
            yield os.path.normpath(os.path.join(source, word))


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _told(path: str, view: View, source: str, home: str) -> str | None:
    if _within(path, (*view.writable, *view.shared, *(("/tmp",) if view.rung == "namespace" else ()))):
        return None
    if _within(path, (source,)):
        return _of_source(path, view)
    if _within(path, view.machine):
        return _READ_ONLY
    if _within(path, (*view.readable, *view.cached, "/dev")):
        return None
    if Path(source).is_relative_to(path):
        return _ABOVE
    if _within(path, (home, "/home", "/root")):
        return _HOME
    return _TEMPORARY if _within(path, ("/tmp", "/var/tmp")) else _CLOSED


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
