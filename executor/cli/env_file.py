"""The file of `--env-file`: one KEY=VALUE a line, comments after #, quotes around values; nothing is expanded."""

import re
from pathlib import Path

from executor.cli.errors import EnvFileBroken, ValueFileUnreadable

_LINE = re.compile(
    r"""\s* (?:export\s+)? (?P<name>[^\s=#'"]+) \s*=[ \t]*
        (?: '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<bare>[^'"\s#](?:[^#]|(?<=\S)\#)*|) )
        \s* (?:\#.*)?""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read_env_file(path: str) -> dict[str, str]:
    """Names and values, a later line over an earlier one.

    Between single quotes everything stands for itself; between double quotes \\n, \\r, \\t, \\", \\$ and \\\\ are read.

    Raises:
        ValueFileUnreadable: there is no such file, or it is not text.
        EnvFileBroken: a line is none of these; it is named by number, not quoted.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueFileUnreadable(path=path, why=(error.strerror or "no such file").lower()) from None
    except ValueError:
        raise ValueFileUnreadable(path=path, why="it is not text in UTF-8") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise EnvFileBroken(path=path, line=number, why=_why(line))
        found[matched["name"]] = _value(matched)
    return found


def _value(matched: re.Match[str]) -> str:
    if matched["single"] is not None:
        return matched["single"]
    if matched["double"] is not None:
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), matched["double"])
    return matched["bare"].strip()


def _why(line: str) -> str:
    if "=" not in line:
        return "there is no = in it"
    return "a quote is not closed, or something follows it" if re.search("=\\s*['\"]", line) else "it is no KEY=VALUE"
