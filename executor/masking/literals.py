"""A value between quotes: JSON, Python's `repr`, strings of other languages, SQL, CSV and YAML.

Every form leaves out the quotes themselves.
"""

from collections.abc import Iterator
from json.encoder import encode_basestring, encode_basestring_ascii


def json_texts(value: bytes) -> tuple[bytes, bytes]:
    """Return it as `json.dumps` writes it, with and without `ensure_ascii`."""
    text = value.decode("utf-8", "surrogateescape")  # as os.environ decodes what is not UTF-8
    pure = encode_basestring_ascii(text)[1:-1].encode()
    if value.isascii() and 0x7F not in value:
        return pure, pure
    return pure, encode_basestring(text)[1:-1].encode("utf-8", "surrogateescape")


def json_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    """Yield it as Python and JavaScript write it, and as PHP (`\\/`), Go (`\\u0026`) and others that escape more do."""
    pure, wide = json_texts(value)
    for form in dict.fromkeys((pure, wide)):
        yield form
        yield form.replace(b"/", b"\\/")
        if thorough:
            go = form.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
            yield go
            go = go.replace(b"'", b"\\u0027")
            yield go  # jinja's tojson
            yield go.replace(b"=", b"\\u003d")  # Gson
    if thorough:
        if pure != wide:
            yield _upper(pure)  # Java's
        yield _dotnet(pure)


def _upper(pure: bytes) -> bytes:
    first, *rest = pure.split(b"\\u")
    return b"\\u".join([first, *(part[:4].upper() + part[4:] for part in rest)])


_DOTNET = tuple((bytes((byte,)), b"\\u%04X" % byte) for byte in b"&'+<>`")


def _dotnet(pure: bytes) -> bytes:
    form = _upper(pure).replace(b'\\"', b"\\u0022")
    for char, escape in _DOTNET:
        form = form.replace(char, escape)
    return form


def repr_texts(value: bytes) -> tuple[bytes, bytes]:
    """Return it as `repr` writes a text, and as it does when the text has both kinds of quotes around the value."""
    text = value.decode("utf-8", "surrogateescape")
    written = repr(text)[1:-1], repr('"' + text)[2:-1]
    return written[0].encode("utf-8", "surrogateescape"), written[1].encode("utf-8", "surrogateescape")


def repr_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    """Yield it as `repr` and `ascii` write it, as text and as bytes."""
    yield from repr_texts(value)
    yield repr(value)[2:-1].encode()
    yield repr(b'"' + value)[3:-1].encode()
    if thorough:
        yield repr_texts(value)[1].replace(b"\\'", b"'")  # between backquotes, as Node has a text with both others
        text = value.decode("utf-8", "surrogateescape")
        yield ascii(text)[1:-1].encode()
        yield ascii('"' + text)[2:-1].encode()
        yield text.encode("ascii", "backslashreplace")  # Python's stderr in ASCII: quotes and backslashes stay


def sql_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as a text in SQL: standard (also YAML's single quotes), PostgreSQL's E'', MySQL's."""
    if 0x27 in value:
        yield value.replace(b"'", b"''")
    escaped = value.replace(b"\\", b"\\\\")
    yield escaped.replace(b"'", b"''")
    for before, after in ((b"'", b"\\'"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\x1a", b"\\Z")):
        escaped = escaped.replace(before, after)
    yield escaped


def doubled_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as configuration files have it in which `%` or `$` begins something: ini, compose, make."""
    for char in (b"%", b"$"):
        if char in value:
            yield value.replace(char, char * 2)


def quoted_printable(value: bytes) -> bytes:
    """Return it as mail has it, while its line is short."""
    return b"".join(map(_QUOTED_PRINTABLE.__getitem__, value))


def cookie_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as Python's and werkzeug's cookies have it."""
    yield "".join([_COOKIE.get(char, char) for char in value.decode("utf-8", "replace")]).encode()
    yield b"".join(map(_COOKIE_OF_BYTES.__getitem__, value))


def program_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as other languages show a text with control characters or letters beyond ASCII.

    Without these they write what JSON or `repr` does.
    """
    for table in _BYTEWISE:
        yield b"".join(map(table.__getitem__, value))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    for named, control, wide, quotes in _LANGUAGES:
        yield "".join([_spelled(char, named, control, wide, quotes) for char in text]).encode()


def _spelled(char: str, named: dict[str, str], control: str, wide: str, quotes: str) -> str:
    if char in quotes:
        return "\\" + char
    if char in named:
        return named[char]
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return control % code
    if code < 0x7F or not wide:
        return char
    if wide == _YAML_WIDE:
        return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
    return wide % code


_NAMES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_BELL = {"\a": "\\a", "\b": "\\b", "\v": "\\v", "\f": "\\f"} | _NAMES
_YAML_WIDE = "YAML"
_LANGUAGES = (
    (_BELL, "\\x%02x", "", '"\\'),  # Go
    (_BELL | {"\x1b": "\\e"}, "\\u%04X", "", '"\\'),  # Ruby
    (_NAMES | {"\0": "\\0"}, "\\u{%x}", "", '"\\'),  # Rust
    (_NAMES, "\\u{%x}", "\\u{%x}", "\"'\\"),  # Rust's escape_default
    ({"\b": "\\b", "\f": "\\f"} | _NAMES, "\\x%02X", "", "\\"),  # Node
    ({"\b": "\\b", "\f": "\\f"} | _NAMES, "\\x%02X", "", "'\\"),  # Node, for a text with all quotes
    (_BELL | {"\0": "\\0", "\x1b": "\\e", "\x85": "\\N", "\xa0": "\\_"}, "\\x%02X", _YAML_WIDE, '"\\'),
)


def _table(named: dict[str, str], escape: bytes, kept: bytes) -> tuple[bytes, ...]:
    table = [bytes((byte,)) if byte in kept else escape % byte for byte in range(256)]
    for char, name in named.items():
        table[ord(char)] = name.encode()
    return tuple(table)


_PRINTED = bytes(range(0x20, 0x7F))
_DOUBLE = {'"': '\\"', "\\": "\\\\"}
_BYTEWISE = (
    _table(_BELL | _DOUBLE, b"\\%03o", _PRINTED),  # C, git
    _table(_NAMES | _DOUBLE | {"'": "\\'"}, b"\\x%02x", _PRINTED),  # Rust's bytes
    _table(_BELL | _DOUBLE | {"\x1b": "\\e"}, b"\\x%02X", _PRINTED),  # Ruby's bytes
)
_QUOTED_PRINTABLE = _table({"\n": "\n", "\r": "\r", "\t": "\t"}, b"=%02X", _PRINTED.replace(b"=", b""))
_COOKIE_OF_BYTES = _table(_DOUBLE, b"\\%03o", _PRINTED.translate(None, b",;"))
_COOKIE = {chr(code): f"\\{code:03o}" for code in range(256) if code not in _PRINTED or code in b",;"} | _DOUBLE
