"""Which of the files that a run wrote beside itself are given: all but what is hidden or made anew, or what is named.

A pattern of `--collect` is as in `.gitignore`: one without a slash matches a name in any folder, one with a slash a
path from the source root on, `./*.csv` what lies in the root alone. `*` and `?` stay within a folder, `**` is any
number of folders, and what matches a folder takes all in it. None of them reaches a name that begins with a dot,
unless it says the dot itself: `.dbt/**`, `.coverage`.
"""

import re
from collections.abc import Sequence

_MADE_ANEW = ("__pycache__", "node_modules")
_COMPILED = ".pyc"


class Chosen:
    """What is given."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Patterns as they were asked for; without any, the default."""
        self._patterns = [re.compile(_expression(one)) for one in patterns]
        self._hidden = any(part.startswith(".") for one in patterns for part in one.split("/"))

    @property
    def named(self) -> bool:
        """Whether somebody has said what is given."""
        return bool(self._patterns)

    def enters(self, folder: str) -> bool:
        """Whether anything in a folder may be given."""
        name = folder.rpartition("/")[2]
        if self._patterns:
            return self._hidden or not name.startswith(".")
        return not name.startswith(".") and name not in _MADE_ANEW

    def takes(self, path: str) -> bool:
        """Whether a file is given."""
        if not self._patterns:
            return _usually(path)
        return any(one.fullmatch(path) for one in self._patterns)

    def tells(self, path: str) -> bool:
        """Whether somebody may wait for a word about a file, though it is not given."""
        return _usually(path) or self.takes(path)


def _usually(path: str) -> bool:
    """Whether a file is given where nobody names any."""
    hidden = any(part.startswith(".") or part in _MADE_ANEW for part in path.split("/"))
    return not hidden and not path.endswith(_COMPILED)


def _expression(pattern: str) -> str:
    """The regular expression of a pattern."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    parts = parts if "/" in pattern.rstrip("/") else ["**", *parts]
    visible = r"(?!\.)[^/]+"
    written = ""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            written += rf"{visible}(?:/{visible})*" if last else rf"(?:{visible}/)*"
        else:
            written += _part(part) + ("" if last else "/")
    return rf"(?s:{written})(?:/{visible})*"


def _part(part: str) -> str:
    written = "" if part.startswith(".") else r"(?!\.)"
    place = 0
    while place < len(part):
        letter = part[place]
        end = part.find("]", place + 2) if letter == "[" else -1
        if letter == "*":
            written += "[^/]*"
        elif letter == "?":
            written += "[^/]"
        elif end > 0:
            inside = part[place + 1 : end]
            but = "^" if inside[0] in "!^" else ""
            written += f"[{but}{re.escape(inside[len(but) :]).replace(chr(92) + '-', '-')}]"
            place = end
        else:
            written += re.escape(letter)
        place += 1
    return written
