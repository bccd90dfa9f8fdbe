"""The three streams, whatever the shell and the locale left of them."""

import os
import sys
from typing import Any

_UNICODE = ("utf-8", "utf-16", "utf-32")


def speak_utf8() -> None:
    """Start this program anew where the locale has another encoding.

    What is typed and where files lie is handed to workers as text, and they know nothing of the locale here.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def prepare() -> None:
    """Make every stream usable, before a file is opened and before anything is done.

    A stream that was closed (`>&-`) becomes one that nobody hears: its number must not go to the next file that is
    opened, which may be the database. What a stream's encoding does not have is written as an escape: a word of ours
    must not end a command between two things that it does.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence(number: int) -> None:
    """Let what is still written to a stream go nowhere: Python would complain at exit, when it flushes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def has_every_character(stream: Any) -> bool:
    """Whether a stream's encoding is one of Unicode's."""
    return (getattr(stream, "encoding", None) or "").lower().replace("_", "-").startswith(_UNICODE)
