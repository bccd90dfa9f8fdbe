"""What a run is told at the end of its stderr of the files that it wrote beside its source."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from executor.supervisor.report import Reporter

_NAMED = 5  # files, folders, things removed or patterns that are named at the end
_NAME = 100  # characters
_CHOOSES = "--collect 'GLOB' chooses which"


@dataclass
class Told:
    """What was found, and what became of it."""

    given: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)
    """Files that had more than their bytes."""
    numbered: list[tuple[str, str]] = field(default_factory=list)
    """Files that have the name of one in the output folder: that name, and the one by which they are given."""
    bytes: int = 0
    over: Counter[str] = field(default_factory=Counter)
    """How many files are not given, by the limit that they are beyond."""
    closed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Folders that were not searched, by what they are."""
    broken_off: str | None = None
    """What there was too much of to look at all of it."""
    matched: bool = False
    unmatched: int = 0
    """Files that would be given if nobody had named others."""

    def tell(self, run: str, patterns: Sequence[str], reporter: Reporter) -> None:
        """Say it."""
        if self.given:
            count, size = len(self.given), self.bytes
            files, they = ("file", "it is") if count == 1 else ("files", "they are")
            reporter.say(
                f"wrote {count:,} {files} beside the source ({_size(size)}): {_names(self.given, reporter)};"
                f" {they} kept for --output and `sealrun runs download {run[:8]}`"
            )
        if self.numbered:
            taken, given = (_names([pair[side] for pair in self.numbered], reporter) for side in (0, 1))
            one, other = ("is the one", "the one") if len(self.numbered) == 1 else ("are those", "those")
            reporter.say(
                f"two of the same name: {taken} {one} of SEALRUN_OUTPUT_DIR, and {given} {other} beside the source"
            )
        if self.bare:
            reporter.say(f"set-user-id bits and extended attributes are not kept: {_names(self.bare, reporter)}")
        if self.removed:
            names, them = _names(self.removed, reporter), "it" if len(self.removed) == 1 else "them"
            reporter.say(f"the run removed {names} from its working folder; the source still has {them}")
        self._tell_unmatched(patterns, reporter)
        self._tell_over(reporter)

    def _tell_unmatched(self, patterns: Sequence[str], reporter: Reporter) -> None:
        if self.matched or not self.unmatched:
            return
        files = "1 file was" if self.unmatched == 1 else f"{self.unmatched:,} files were"
        shown = [shlex.quote(_name(one, reporter)) for one in patterns[:_NAMED]]
        named = " ".join([*shown, *["…"] * (len(patterns) > _NAMED)])
        reporter.say(f"{files} written beside the source, none matches --collect {named}")

    def _tell_over(self, reporter: Reporter) -> None:
        least = "at least " if self.broken_off else ""
        for limit, count in self.over.items():
            files = "file written beside the source is" if count == 1 else "files written beside the source are"
            reporter.say(f"{least}{count:,} more {files} not kept: a run may leave {limit}; {_CHOOSES}")
        for what, names in self.closed.items():
            reporter.say(f"what lies {what} is not kept: {_names(names, reporter)}")
        if self.broken_off and not self.over:
            reporter.say(
                f"not all that was written beside the source was looked at: there was {self.broken_off}; what is not"
                " to be kept is better written to TMPDIR"
            )


def note(names: list[str], name: str) -> None:
    """Keep a name if it will be told, or be seen to have been left out: a run may choose a great many long ones."""
    if len(names) <= _NAMED:
        names.append(name)


def _names(names: Sequence[str], reporter: Reporter) -> str:
    return ", ".join([*(_name(one, reporter) for one in names[:_NAMED]), *["…"] * (len(names) > _NAMED)])


def _name(name: str, reporter: Reporter) -> str:
    text = reporter.masker.mask_text(name.encode(errors="surrogateescape").decode(errors="replace"))
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= _NAME else f"{text[:_NAME]}…"


def _size(size: int) -> str:
    for unit, bits in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size >= 1 << bits:
            return f"{size / (1 << bits):.0f} {unit}"
    return f"{size} bytes"
