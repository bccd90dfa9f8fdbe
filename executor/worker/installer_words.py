"""What an installer says, but for hints that name options of its own: nobody can give those to sealrun.

In their place stands a hint of ours, in the message of a set-up that failed.
"""

import re

from executor.runs import storable

_LAST = 16 << 10  # bytes at hand for that message
_LONGEST = 64 << 10  # bytes of a line that is waited for to its end
_HINT = re.compile(rb"\s*hint: ")
_ERROR = re.compile(r"^(?:error: |\s*\u00d7 )", re.M)  # where uv begins to tell of one
_OPTION = re.compile(rb"`-{1,2}[a-z]")

# The first whose words were said.
_HINTS = (
    (
        r"UnknownIssuer|CaUsedAsEndEntity|certificate verify failed|invalid peer certificate",
        "let the worker's machine know the authority of this certificate: add it to the system's, or set SSL_CERT_FILE"
        " where the worker is started, and restart it",
    ),
    (
        r"401 Unauthorized|403 Forbidden|valid authentication credentials",
        "store the index's password as a secret and pass --setup-secret UV_INDEX_…_PASSWORD; docs/how-to/python.md"
        " says how",
    ),
    (
        r"`--index-strategy",
        "if all indexes are to be trusted equally: sealrun variable set UV_INDEX_STRATEGY unsafe-best-match",
    ),
    (
        r"`--prerelease",
        "name a pre-release, as in --with 'NAME>=2.0rc1', or allow all: sealrun variable set UV_PRERELEASE allow",
    ),
    (
        r"`--no-build-isolation",
        "say what its build needs in [tool.uv.extra-build-dependencies] of pyproject.toml, or take a version with a"
        " wheel",
    ),
    (r"UV_HTTP_TIMEOUT", "give it more seconds: sealrun variable set UV_HTTP_TIMEOUT 300"),
    (
        r"dns error|client error \(Connect\)|error sending request",
        "an installer reaches what the worker's machine reaches: set HTTPS_PROXY where the worker is started and"
        " restart it, or SEALRUN_PACKAGE_INDEX to an index that it reaches",
    ),
)
_ELSE = "uv's settings are given as variables: sealrun variable set UV_…; docs/how-to/python.md says which count"


class InstallerWords:
    """The words of one installer, in whole lines as they come."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._rest = b""  # of a line that has not ended
        self._last = b""
        self._hint = False  # whether the last line was of a hint that is left out
        self._left_out = b""

    def take(self, data: bytes) -> bytes:
        """Take what has come; return what is to be shown of it, and of what came before."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        return self._shown(b"".join(line + b"\n" for line in lines))

    def finish(self) -> bytes:
        """Return what is to be shown of the last line."""
        rest, self._rest = self._rest, b""
        return self._shown(rest)

    def last(self, limit: int) -> str:
        """The last error that was shown, or else the end, in at most so many characters; then our hint.

        All lines but the first are indented, as what belongs to it.
        """
        words = storable(self._last.decode(errors="replace")).strip()
        words = words[max((found.start() for found in _ERROR.finditer(words)), default=0) :]
        words = words if len(words) <= limit else words[-limit:].partition("\n")[2]
        said = f"{words}\n{self._left_out.decode(errors='replace')}"
        hint = next((ours for theirs, ours in _HINTS if re.search(theirs, said)), _ELSE if self._left_out else None)
        lines = [line.rstrip() for line in words.splitlines() if line.strip()]
        lines += [f"hint: {hint}"] * bool(words and hint)
        return "\n".join(line if line.startswith("  ") else f"  {line}" for line in lines).strip()

    def _shown(self, data: bytes) -> bytes:
        shown = b"".join(line for line in data.splitlines(keepends=True) if not self._is_left_out(line))
        self._last = (self._last + shown)[-_LAST:]
        return shown

    def _is_left_out(self, line: bytes) -> bool:
        goes_on = self._hint and line[:1] in (b" ", b"\t") and not _HINT.match(line)
        self._hint = goes_on or (_HINT.match(line) is not None and _OPTION.search(line) is not None)
        if self._hint:
            self._left_out = (self._left_out + line)[-_LAST:]
        return self._hint
