"""Names and values from a file: the .env grammar, which is python-dotenv's, and JSON.

Every problem is named by its place, and nothing of a file is quoted but what has the form of a name: a broken line may
well be a piece of a value.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any, Literal

from dotenv.parser import Binding, parse_stream

from executor.errors import FileUnreadable
from executor.schemas.importing import Pair, Problem, Reading
from secretstore.naming import has_form_of_name

Format = Literal["env", "json"]

LARGEST_FILE = 4 << 20
"""Bytes: twice what the kernel passes to a program, so that it is the content that is refused and not the file."""

_LISTED = 10
_MOST = 20_000  # entries: many times what a run can be given
_MANY_BLANKS = re.compile(r"[^\S\n]{256}")  # python-dotenv takes the square of it
_NO_NAME = "what stands for a name is none: a name has 1 to 255 letters, digits, -, _ and ."
_BASE64_END = re.compile(r"(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9]{16,}")


def read_file(path: str) -> bytes:
    """A file's content; a pipe, as of a shell's `<(…)`, is a file too.

    Raises:
        FileUnreadable: there is none, it is something else, or it has more than `LARGEST_FILE` bytes.
    """
    try:
        # Not to wait for a pipe that nobody writes into.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(opened, "rb") as file:  # it refuses a folder
            mode = os.fstat(opened).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise FileUnreadable(path=path, why="it is no regular file")
            os.set_blocking(opened, True)
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FileUnreadable(path=path, why=os.strerror(error.errno or 0).lower()) from None
    except ValueError:  # a NUL in the path
        raise FileUnreadable(path=path, why="no such file or directory") from None
    return bounded(path, content)


def stays(path: str) -> bool:
    """Whether what was read is still there, as a pipe's content is not."""
    return os.path.isfile(path)


def bounded(path: str, content: bytes) -> bytes:
    """The content of `path`, unless it is too much.

    Raises:
        FileUnreadable: it has more than `LARGEST_FILE` bytes.
    """
    if len(content) > LARGEST_FILE:
        raise FileUnreadable(path=path, why=f"it has more than {LARGEST_FILE:,} bytes")
    return content


def format_of(path: str, content: bytes) -> Format:
    """The format, by the file's name and else by how it begins: no line of a .env file begins with a brace."""
    if path.endswith(".json"):
        return "json"
    if path.endswith(".env"):
        return "env"
    return "json" if content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") else "env"


def parse(content: bytes, kind: Format) -> Reading:
    """All the pairs and all the problems of a file."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return Reading((), (Problem("", "it is text in UTF-16: save it in UTF-8"),))
        line = content.count(b"\n", 0, error.start) + 1
        return Reading((), (Problem(f"line {line}", "it is not text in UTF-8"),))
    if (nul := text.find("\0")) >= 0:
        return Reading((), (Problem(f"line {_line(text, nul)}", "there is a NUL, which no variable can hold"),))
    found = list(_env(text) if kind == "env" else _json(text))
    pairs = tuple(entry for entry in found if isinstance(entry, Pair))
    return Reading(pairs, tuple(entry for entry in found if isinstance(entry, Problem)))


def listed(problems: Sequence[Problem]) -> str:
    """The first few of them, in one line."""
    more = len(problems) - _LISTED
    return "; ".join(map(str, problems[:_LISTED])) + (f"; and {more:,} more" if more > 0 else "")


def _env(text: str) -> Iterator[Pair | Problem]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as Python reads a text file, and python-dotenv with it
    blanks = _MANY_BLANKS.search(text)
    if blanks is not None:
        yield Problem(f"line {_line(text, blanks.start())}", "there are over 255 blanks in a row")
        return
    for number, binding in enumerate(parse_stream(StringIO(text))):
        line = binding.original.line + _lines_before(binding)
        place = f"line {line}"
        if number == _MOST:
            yield Problem(place, f"there are over {_MOST:,} lines")
            return
        if binding.error:
            yield Problem(place, _why(binding.original.string))
        elif binding.key is not None:
            yield _entry(place, binding.key, binding.value)


def _entry(place: str, name: str, value: str | None) -> Pair | Problem:
    if value is None:
        return Problem(place, "there is no = in it")
    # `QUJDREVGR0g=`: the last line of a key that stands there without quotes.
    if value in ("", "=") and "_" not in name and _BASE64_END.fullmatch(name):
        return Problem(place, "it looks like the end of a value that began above: put quotes around it")
    if not has_form_of_name(name):
        return Problem(place, _NO_NAME)
    return Pair(name, value, place)


def _lines_before(binding: Binding) -> int:
    """Blank lines that the parser counts as the beginning of what follows them."""
    source = binding.original.string
    return source[: len(source) - len(source.lstrip())].count("\n")


def _why(source: str) -> str:
    name, equals, value = source.partition("=")
    if not name.strip():
        return "there is no name before the ="
    if not equals:
        return "there is no = in it"
    if value.lstrip()[:1] in ("'", '"'):
        return "a quote is not closed, or something follows it"
    return "it is no NAME=VALUE"


class _Members(list[tuple[str, Any]]):
    """A JSON object that keeps members of the same name."""


class _Literal(str):
    """A number as it is written in the file."""


def _json(text: str) -> Iterator[Pair | Problem]:
    if not text.strip():
        return
    try:
        document = json.loads(
            text,
            object_pairs_hook=_Members,
            parse_int=_Literal,
            parse_float=_Literal,
            parse_constant=_Constant,
        )
    except json.JSONDecodeError as error:
        yield Problem(f"line {error.lineno}, column {error.colno}", "it is no JSON")
        return
    except RecursionError:
        yield Problem("", "it is nested too deeply: it has to be one object of names and values")
        return
    if not isinstance(document, _Members):
        yield Problem("", "it has to be one object of names and values")
        return
    for number, (name, member) in enumerate(document, 1):
        place = _step("$", name, number)
        if not has_form_of_name(name):
            yield Problem(place, _NO_NAME)
        elif isinstance(member, str):
            yield _checked(Pair(name, str(member), place))
        elif isinstance(member, bool):
            yield Pair(name, "true" if member else "false", place)
        else:
            yield Problem(place, _why_no_value(member))


def _checked(pair: Pair) -> Pair | Problem:
    if any("\ud800" <= character <= "\udfff" for character in pair.value):
        return Problem(pair.place, "half a surrogate pair is not text in UTF-8", pair.name)
    return pair


class _Constant:
    """NaN or Infinity, which Python reads and which are no JSON."""

    def __init__(self, _: str) -> None: ...


def _why_no_value(member: Any) -> str:
    match member:
        case None:
            what = "null"
        case _Members():
            what = "an object"
        case list():
            what = "a list"
        case _:
            return "NaN and Infinity are no JSON"
    return f"it is {what}, and a value is text, a number, true or false"


def _step(path: str, name: str, number: int) -> str:
    return f"{path}.{name}" if has_form_of_name(name) else f"{path}.<key {number}>"


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
