"""Pages whose commands are run: what stands in the page is what is typed, and what has to come back.

A fenced block of a language and a path (` ```python jobs/load.py `) is a file. In a `console` block a line with `$ ` is
typed, the lines below it are what is seen, `$ echo $?` asks for the exit code, and `…` stands for anything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(.*)$")


@dataclass(frozen=True)
class Typed:
    """One command and what it shows; `code` where the page asks for it."""

    command: str
    seen: tuple[str, ...]
    code: int | None = None


@dataclass(frozen=True)
class Section:
    """A heading, the text below it, and what is typed there."""

    title: str
    text: str
    files: dict[str, str] = field(default_factory=dict)
    typed: tuple[Typed, ...] = ()

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def read(name: str) -> list[Section]:
    """The sections of a page in docs/, in order."""
    return [_section(title, lines) for title, lines in _parted((CHECKOUT / "docs" / name).read_text().splitlines())]


def _parted(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    title, own, fenced = "", list[str](), False
    for line in lines:
        fenced ^= bool(_FENCE.match(line))
        if line.startswith("#") and not fenced:
            yield title, own
            title, own = line.lstrip("# "), []
        else:
            own.append(line)
    yield title, own


def _section(title: str, lines: list[str]) -> Section:
    files: dict[str, str] = {}
    typed: list[Typed] = []
    text: list[str] = []
    block: list[str] | None = None
    what = ""
    for line in lines:
        fence = _FENCE.match(line)
        if fence and block is None:
            block, what = [], fence[1].strip()
        elif fence and block is not None:
            if what == "console":
                typed += _typed(block)
            elif " " in what:
                files[what.split()[1]] = "\n".join(block) + "\n"
            block = None
        elif block is not None:
            block.append(line)
        else:
            text.append(line)
    return Section(title, "\n".join(text).strip(), files, tuple(typed))


def _typed(lines: list[str]) -> list[Typed]:
    found: list[Typed] = []
    for line in lines:
        if line == "$ echo $?":
            found.append(Typed("echo $?", ()))
        elif line.startswith("$ "):
            found.append(Typed(line.removeprefix("$ "), ()))
        else:
            last = found[-1]
            found[-1] = Typed(last.command, (*last.seen, line), last.code)
    told: list[Typed] = []
    for one in found:
        if one.command == "echo $?":
            told[-1] = Typed(told[-1].command, told[-1].seen, int(one.seen[0]))
        else:
            told.append(one)
    return told


def matches(expected: tuple[str, ...], seen: str) -> bool:
    """Whether a page's lines are what was seen, `…` standing for anything, also for whole lines."""
    pattern = re.escape("\n".join(expected)).replace("…", ".*")
    return re.fullmatch(pattern, seen.rstrip("\n"), re.DOTALL) is not None
