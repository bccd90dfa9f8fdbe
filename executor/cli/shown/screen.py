"""What is written where: listings to stdout, our own words to stderr. Colour and alignment are for terminals alone."""

import errno
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from executor.cli.shown import streams

STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "pending": "dim",
}


_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
_OURS = re.compile(r"(\x1b\[(?:31|32|33|36|2|1|0)m)")
_MORE = re.compile(r"\n(?=  )")  # a line of a list; what is named in a sentence can begin no line that looks like ours
_FOLDED = 200  # rows of a table whose cells are folded; that takes a second for two thousand
_WHOLE = 16  # characters of a word that is never folded; a fingerprint is shown with as many
_MOMENT = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d{3}Z")  # as `moment` writes it
_WIDEST = 60  # characters of a column in a longer one

_line_is_open = False

Fact = tuple[str, str | Sequence[str]]
"""A name, and what it is: in one line or in several. Nothing in a line begins another, or moves the cursor."""


def left_open(output: bytes) -> None:
    """A run's bytes went by: on a terminal, our next words begin on a line of their own."""
    global _line_is_open
    _line_is_open = not output.endswith(b"\n") and sys.stderr.isatty()


def say(text: str, style: str = "") -> None:
    """A line of our own, and indented ones below it, to stderr.

    Nobody may hear it: what is done goes on, and the exit code tells.
    """
    global _line_is_open
    try:
        if _line_is_open:
            sys.stderr.write("\n")
            _line_is_open = False
        _line(sys.stderr, "\n".join(map(printable, _MORE.split(text))), style)
    except OSError as deaf:
        streams.silence(2)
        if deaf.errno == errno.EIO and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            # A terminal that is closed refuses what is written before the kernel's SIGHUP arrives: it is that end.
            os.kill(os.getpid(), signal.SIGHUP)


def show(text: str, style: str = "") -> None:
    """A line that is the answer, to stdout."""
    _line(sys.stdout, _tame(text), style)


_TOKEN = re.compile(r"srn_[0-9A-Za-z]{8,}")


def complain(sentence: str, hint: str | None = None) -> None:
    """An error, to stderr, without a token of ours that was typed where something else belongs."""
    say(_TOKEN.sub("srn_***", f"sealrun: {sentence}"), "red")
    if hint:
        say(_TOKEN.sub("srn_***", f"hint: {hint}"))


def show_json(document: Any) -> None:
    """One JSON document, to stdout."""
    sys.stdout.write(json_text(document) + "\n")
    sys.stdout.flush()


def show_lines(documents: Iterable[Any]) -> None:
    """JSON documents to stdout, a line each: in ASCII, where nothing is left that a terminal could act on."""
    for document in documents:
        sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def json_text(document: Any) -> str:
    """JSON as it is shown, indented; characters a terminal could act on are escaped."""
    as_it_is = streams.has_every_character(sys.stdout)
    return printable_lines(json.dumps(plain_data(document), indent=2, ensure_ascii=not as_it_is))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], styles: Sequence[str] = ()) -> None:
    """A listing: on a terminal aligned, with headings and moments to the second; else its fields are parted by tabs."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            sys.stdout.write("\t".join(line) + "\n")
        sys.stdout.flush()
        return
    lines = [[_MOMENT.sub(r"\1 \2Z", cell) for cell in line] for line in lines]
    titles = [heading.upper() for heading in headings]
    widths = _folded_widths([titles, *lines], shutil.get_terminal_size().columns)
    if len(lines) > _FOLDED or widths is None:
        _aligned(titles, lines, styles)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = not coloured(sys.stdout)
    listing = Table(box=None, pad_edge=False, header_style="" if plain else "dim", padding=(0, 2, 0, 0))
    for title, width in zip(titles, widths, strict=True):
        listing.add_column(title, overflow="fold", width=width)
    for line in lines:
        cells = [Text(cell, style="" if plain else _style(styles, place, cell)) for place, cell in enumerate(line)]
        listing.add_row(*cells)
    Console(highlight=False).print(listing)


def facts(pairs: Iterable[Fact], styles: Mapping[str, str] = {}) -> None:
    """Names and what they are, aligned, to stdout: text in a line, or several of them; `styles` by name."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, told in listed:
        texts = [told] if isinstance(told, str) else told
        first, *more = [paint(printable(text), styles.get(name, ""), sys.stdout) for text in texts] or [""]
        label = paint(f"{name:<{width}}", "dim", sys.stdout)
        sys.stdout.write(f"{label}  {first}\n" + "".join(f"{'':<{width}}  {line}\n" for line in more))
    sys.stdout.flush()


def moment(at: datetime | None) -> str:
    """ISO 8601 in UTC, to the millisecond; empty for none."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def ago(at: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    return f"{length((datetime.now(UTC) - at).total_seconds())} ago"


def length(seconds: float) -> str:
    """A length of time in the largest unit that fits."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{int(max(seconds, 0))} s"


def plain_data(value: Any) -> Any:
    """Views as JSON knows them: dataclasses and models as objects, moments as ISO 8601 in UTC."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return moment(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_data(getattr(value, field.name)) for field in fields(value)}
    if hasattr(type(value), "model_fields"):  # pydantic's, which this module is not to load
        return {name: plain_data(member) for name, member in value}
    if isinstance(value, dict):
        return {str(key): plain_data(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(member) for member in value]
    return value


def printable(text: str) -> str:
    """Text that moves no cursor and rings no bell, whoever chose it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, for several lines; inside a JSON text each escape stands for the character it replaces."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def paint(text: str, style: str, stream: Any) -> str:
    """Text in a colour, where the stream is a terminal that wants one."""
    return _in_style(style, text) if coloured(stream) else text


def paint_bytes(data: bytes, style: str, stream: Any) -> bytes:
    """As `paint`, for output that need not be text."""
    return b"\x1b[%sm%s\x1b[0m" % (_CODES[style].encode(), data) if coloured(stream) else data


def coloured(stream: Any) -> bool:
    """Whether a stream is a terminal, and nobody has said NO_COLOR (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _line(stream: Any, text: str, style: str) -> None:
    stream.write(paint(text, style, stream) + "\n")
    stream.flush()


def _tame(text: str) -> str:
    """A line in our colours, as `printable` shows them: what is named in them was chosen by somebody else."""
    return "".join(part if _OURS.fullmatch(part) else printable(part) for part in _OURS.split(text))


def _folded_widths(lines: list[list[str]], room: int) -> list[int] | None:
    """How wide each column may be on a terminal, without breaking a short word; None where that cannot be."""
    columns = list(zip(*lines, strict=True))
    least = [min(max((len(word) for cell in column for word in cell.split()), default=0), _WHOLE) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    while (excess := sum(widths) + 2 * (len(widths) - 1) - room) > 0:
        wide = max(range(len(widths)), key=lambda place: widths[place] - least[place])
        if widths[wide] == least[wide]:
            return None
        widths[wide] -= min(excess, max(1, (widths[wide] - least[wide]) // 2))
    return widths


def _aligned(titles: Sequence[str], lines: list[list[str]], styles: Sequence[str]) -> None:
    """A listing too long or too wide to fold: its columns are aligned, and the terminal wraps what is too wide."""
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(titles, *lines, strict=True)]
    wants = coloured(sys.stdout)
    shown = [paint("  ".join(map(str.ljust, titles, widths)).rstrip(), "dim", sys.stdout)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if wants:
            cells = [_in_style(_style(styles, place, line[place]), cell) for place, cell in enumerate(cells)]
        shown.append("  ".join(cells).rstrip())
    sys.stdout.write("\n".join(shown) + "\n")


def _in_style(style: str, text: str) -> str:
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style in _CODES and not text.isspace() else text


def _style(styles: Sequence[str], place: int, cell: str) -> str:
    return (styles[place] if place < len(styles) else "") or STATE_STYLES.get(cell, "")
