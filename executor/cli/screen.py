"""What is written where: listings to stdout, our own words to stderr. Colour and alignment are for terminals alone."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "pending": "dim",
}


_line_is_open = False


def left_open(output: bytes) -> None:
    """A run's bytes went by: on a terminal, our next words begin on a line of their own."""
    global _line_is_open
    _line_is_open = not output.endswith(b"\n") and sys.stderr.isatty()


def say(text: str, style: str = "") -> None:
    """A line of our own, to stderr."""
    global _line_is_open
    if _line_is_open:
        sys.stderr.write("\n")
        _line_is_open = False
    _line(sys.stderr, text, style)


def show(text: str, style: str = "") -> None:
    """A line that is the answer, to stdout."""
    _line(sys.stdout, text, style)


def complain(sentence: str, hint: str | None = None) -> None:
    """An error, to stderr."""
    say(f"sealrun: {sentence}", "red")
    if hint:
        say(f"hint: {hint}")


def show_json(document: Any) -> None:
    """One JSON document, to stdout."""
    sys.stdout.write(json_text(document) + "\n")


def json_text(document: Any) -> str:
    """JSON as it is shown, indented; characters a terminal could act on are escaped."""
    return printable_lines(json.dumps(plain_data(document), indent=2, ensure_ascii=False))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], styles: Sequence[str] = ()) -> None:
    """A listing: aligned with headings on a terminal; else a line per row, fields parted by tabs, no headings."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            sys.stdout.write("\t".join(line) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = not coloured(sys.stdout)
    listing = Table(box=None, pad_edge=False, header_style="" if plain else "dim", padding=(0, 2, 0, 0))
    for heading in headings:
        listing.add_column(heading.upper(), overflow="fold")
    for line in lines:
        cells = [Text(cell, style="" if plain else _style(styles, place, cell)) for place, cell in enumerate(line)]
        listing.add_row(*cells)
    Console(highlight=False).print(listing)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and what they are, aligned, to stdout."""
    listed = list(pairs)
    width = max((len(name) for name, _ in listed), default=0)
    for name, text in listed:
        first, *more = text.split("\n")
        label = paint(f"{name:<{width}}", "dim", sys.stdout)
        sys.stdout.write(f"{label}  {first}\n" + "".join(f"{'':<{width}}  {line}\n" for line in more))


def moment(at: datetime | None) -> str:
    """ISO 8601 in UTC, to the millisecond; empty for none."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def ago(at: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max((datetime.now(UTC) - at).total_seconds(), 0)
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{int(seconds)} s ago"


def plain_data(value: Any) -> Any:
    """Views as JSON knows them: dataclasses as objects, moments as ISO 8601 in UTC."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_data(asdict(value))
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, dict):
        return {str(key): plain_data(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(member) for member in value]
    return value


def printable(text: str) -> str:
    """Text that moves no cursor and rings no bell, whoever chose it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, for several lines; inside a JSON text each escape stands for the character it replaces."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def paint(text: str, style: str, stream: Any) -> str:
    """Text in a colour, where the stream is a terminal that wants one."""
    codes = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
    if style not in codes or not coloured(stream):
        return text
    return f"\x1b[{codes[style]}m{text}\x1b[0m"


def coloured(stream: Any) -> bool:
    """Whether a stream is a terminal, and nobody has said NO_COLOR (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _line(stream: Any, text: str, style: str) -> None:
    stream.write(paint(text, style, stream) + "\n")
    stream.flush()


def _style(styles: Sequence[str], place: int, cell: str) -> str:
    return (styles[place] if place < len(styles) else "") or STATE_STYLES.get(cell, "")
