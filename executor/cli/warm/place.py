"""Where a warm process and a command meet: a private folder in SEALRUN_HOME, with a socket and a word.

Whoever knows the word can read this folder: a run cannot, although the kernel may let one of the same user connect.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping

from secretstore.default_home import default_home

FOLDER = "warm"
WORD = "word"
WORD_LENGTH = 64


class Closed(Exception):
    """The folder is not this user's alone, or is not there."""


def home_of(environ: Mapping[str, str]) -> str | None:
    """SEALRUN_HOME as a command will read it; None where it takes more than a look."""
    given = environ.get("SEALRUN_HOME")
    if given is None:
        return default_home(environ)
    return given if given.startswith("/") else None


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether this command may be carried out by a warm process, as far as SEALRUN_WARM_SECONDS says."""
    return any(digit in environ.get("SEALRUN_WARM_SECONDS", "1") for digit in "123456789")


@contextlib.contextmanager
def opened(home: str) -> Iterator[int]:
    """A descriptor of the folder.

    Raises:
        Closed: others can reach it.
        OSError: there is none.
    """
    folder = os.open(os.path.join(home, FOLDER), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise Closed
        yield folder
    finally:
        os.close(folder)


def address(folder: int, name: str) -> str:
    """The path of a socket in it; short, however long the folder's is."""
    return f"/proc/self/fd/{folder}/{name}"


def word(folder: int) -> bytes:
    """What both sides know.

    Raises:
        Closed: it is none.
        OSError: there is none.
    """
    fd = os.open(WORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        text = os.read(fd, WORD_LENGTH + 1)
    finally:
        os.close(fd)
    if len(text) != WORD_LENGTH:
        raise Closed
    return text
