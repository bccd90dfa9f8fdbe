"""What `.gitignore` and `.sealrunignore` leave out, read as git does: as bytes, and the last match counts.

A folder is checked before its contents, and nothing beneath an ignored folder is checked at all: so nothing there can
be included again. https://git-scm.com/docs/gitignore
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from executor.errors import FileUnreadable
from executor.sandbox.reading import all_of

FILES = (".gitignore", ".sealrunignore")
"""In reading order: in the same folder, lines of the second override those of the first."""

USUAL = b""".env
.env.*
.envrc
!.env.example
!.env.sample
!.env.template
!.env.dist
celerybeat-schedule*
celerybeat.pid
"""
"""What is left out unless a file says otherwise: values in the clear, and what a running beat writes to."""

_SIZE_LIMIT = 1 << 20  # bytes
_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda byte: chr(byte).isalnum(),
    b"alpha": lambda byte: chr(byte).isalpha(),
    b"blank": lambda byte: byte in b" \t",
    b"cntrl": lambda byte: byte < 32 or byte == 127,
    b"digit": lambda byte: chr(byte).isdigit(),
    b"graph": lambda byte: 32 < byte < 127,
    b"lower": lambda byte: chr(byte).islower(),
    b"print": lambda byte: 32 <= byte < 127,
    b"punct": lambda byte: 32 < byte < 127 and not chr(byte).isalnum(),
    b"space": lambda byte: byte in b" \t\n\v\f\r",
    b"upper": lambda byte: chr(byte).isupper(),
    b"xdigit": lambda byte: byte in b"0123456789abcdefABCDEF",
}

_NAMED_CLASS = re.compile(rb"\[:([^\]]*):\]")


@dataclass(frozen=True)
class _Rule:
    """One line; it matches a name, or a path from its own folder."""

    takes_in: bool
    folders_only: bool
    by_name: bool
    matches: Callable[[bytes], object]
    usual: bool = False
    """Whether no file says so."""


@dataclass(frozen=True)
class Ignoring:
    """The lines in force in a folder: its own and those above, each with the path from their folder to this one."""

    levels: tuple[tuple[tuple[_Rule, ...], bytes], ...] = ()

    @classmethod
    def at(cls, root: Path) -> "Ignoring":
        """Read the lines in force in a source root: within a git checkout, those above it count, too.

        Raises:
            FileUnreadable: one of the files cannot be read.
        """
        above = [root, *root.parents]
        top = next((place for place in above if os.path.lexists(place / ".git")), root)
        usual = tuple(replace(rule, usual=True) for rule in _rules(USUAL))
        found = cls(((usual[::-1], b""),))
        for place in reversed(above[: above.index(top)]):
            found = found.within(place.parent).beneath(os.fsencode(place.name))
        return found.within(root)

    def within(self, folder: Path) -> "Ignoring":
        """Add the lines of the folder's own files.

        Raises:
            FileUnreadable: one of them cannot be read.
        """
        rules = tuple(rule for name in FILES for rule in _read(folder / name))
        return Ignoring((*self.levels, (rules[::-1], b""))) if rules else self

    def beneath(self, name: bytes) -> "Ignoring":
        """Return the lines as seen from a subfolder of this name."""
        return Ignoring(tuple((rules, way + name + b"/") for rules, way in self.levels))

    def ignores(self, name: bytes, is_folder: bool) -> bool:
        """Tell whether something of this name in this folder is left out."""
        rule = self._decisive(name, is_folder)
        return rule is not None and not rule.takes_in

    def ignores_unasked(self, name: bytes, is_folder: bool) -> bool:
        """Tell whether it is left out although no file says so."""
        rule = self._decisive(name, is_folder)
        return rule is not None and not rule.takes_in and rule.usual

    def _decisive(self, name: bytes, is_folder: bool) -> _Rule | None:
        for rules, way in reversed(self.levels):
            for rule in rules:
                if (is_folder or not rule.folders_only) and rule.matches(name if rule.by_name else way + name):
                    return rule
        return None


def _read(file: Path) -> Iterator[_Rule]:
    if os.path.isdir(file):
        return
    try:
        text = all_of(file, _SIZE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise FileUnreadable(path=file, why=(error.strerror or "").lower()) from None
    yield from _rules(text.removeprefix(b"\xef\xbb\xbf"))


def _rules(text: bytes) -> Iterator[_Rule]:
    for line in text.split(b"\n"):
        rule = _rule(line.removesuffix(b"\r"))
        if rule is not None:
            yield rule


def _rule(line: bytes) -> _Rule | None:
    if line.startswith(b"#"):
        return None
    pattern = _without_trailing_spaces(line)
    takes_in, pattern = pattern.startswith(b"!"), pattern.removeprefix(b"!")
    folders_only, pattern = pattern.endswith(b"/"), pattern.removesuffix(b"/")
    by_name = b"/" not in pattern
    matches = _matcher(pattern.removeprefix(b"/"), in_paths=not by_name)
    return None if matches is None else _Rule(takes_in, folders_only, by_name, matches)


def _without_trailing_spaces(line: bytes) -> bytes:
    """Drop trailing spaces, except after a backslash."""
    kept = re.match(rb"(?:\\.|[^ \\]| +(?=[^ ])|\\\Z)*", line, re.DOTALL)
    return kept[0] if kept is not None else line


def _matcher(pattern: bytes, in_paths: bool) -> Callable[[bytes], object] | None:
    """Turn a pattern into a test of names, or of paths, in which only `**` matches a slash."""
    if not re.search(rb"[*?\[\\]", pattern):
        return pattern.__eq__ if pattern else None
    if not in_paths and re.fullmatch(rb"\*[^*?\[\\]*", pattern):
        ending = pattern[1:]
        return lambda name: name.endswith(ending)
    try:
        return re.compile(b"".join(_translated(pattern, in_paths)), re.DOTALL).fullmatch
    except _Unmatchable:
        return None


class _Unmatchable(Exception):
    """the pattern is broken and matches nothing"""


def _translated(pattern: bytes, in_paths: bool) -> Iterator[bytes]:
    any_one = rb"[^/]" if in_paths else rb"."
    # git takes off the plain beginning first, so `a**/b` is `a` and then `**/b`.
    wild = min(pattern.find(mark) for mark in (b"*", b"?", b"[", b"\\") if mark in pattern)
    at = 0
    while at < len(pattern):
        here = pattern[at : at + 1]
        if here == b"*":
            # `**` crosses folders only if it is all there is between two slashes; else it is one `*`.
            begin = at
            while pattern[at : at + 1] == b"*":
                at += 1
            whole = at - begin > 1 and (begin == wild or pattern[begin - 1 : begin] == b"/")
            rest = pattern[at:]
            if not in_paths:
                yield rb".*"
            elif whole and rest.startswith(b"/"):
                yield rb"(?:.*/)?"
                at += 1
            elif whole and (not rest or rest.startswith(rb"\/")):
                yield rb".*"
            else:
                yield rb"[^/]*"
        elif here == b"?":
            yield any_one
            at += 1
        elif here == b"[":
            members, at = _members(pattern, at + 1)
            members -= set(b"/") if in_paths else set()
            if not members:
                raise _Unmatchable
            yield b"[" + b"".join(re.escape(bytes([byte])) for byte in sorted(members)) + b"]"
        else:
            at += here == b"\\"
            if at == len(pattern):
                raise _Unmatchable  # a backslash before nothing
            yield re.escape(pattern[at : at + 1])
            at += 1


def _members(pattern: bytes, at: int) -> tuple[set[int], int]:
    """Return the bytes that a bracket matches, and the place after it."""
    excluded = pattern[at : at + 1] in (b"!", b"^")
    at += excluded
    members: set[int] = set()
    before = first = -1
    # A `]` right at the beginning is a member, not the end.
    while first == -1 or pattern[at : at + 1] != b"]":
        first = 0
        if (named := _NAMED_CLASS.match(pattern, at)) is not None:
            if named[1] not in _CLASSES:
                raise _Unmatchable
            members.update(byte for byte in range(128) if _CLASSES[named[1]](byte))
            before, at = -1, named.end()
            continue
        is_range = before > 0 and pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"", b"]")
        at += is_range
        at += pattern[at : at + 1] == b"\\"
        if at >= len(pattern):
            raise _Unmatchable
        byte = pattern[at]
        members.update(range(before, byte + 1) if is_range else (byte,))
        before, at = -1 if is_range else byte, at + 1
    return set(range(1, 256)) - members if excluded else members, at + 1
