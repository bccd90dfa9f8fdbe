"""The forms in which ordinary tools print a value: base64, hex, percent, HTML, JSON, Python repr, shell quoting.

Every form leaves out its quotes, so that the masker finds it inside something longer, too. No form goes through `re`
or any other cache that would keep a value alive.
"""

import base64
import json
from collections.abc import Iterable, Iterator

LONG = 8 << 10  # bytes; longer values get the common forms only: ten of 64 KiB have to fit in 64 MB

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def encoded(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield every form of `value` with its name; some are equal, and the value itself may be missing."""
    for name, forms in _forms(value, thorough=len(value) <= LONG):
        for form in forms:
            yield name, form


def _forms(value: bytes, *, thorough: bool) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield "base64", _base64_forms(value)
    if thorough:
        yield "base64 in lines", _wrapped_base64_forms(value)
    yield "hex", (value.hex().encode(), value.hex().upper().encode())
    if is_long_binary(value):
        yield "repr", (repr(value)[2:-1].encode(),)
        return
    yield "percent-encoded", _percent_forms(value, thorough)
    if thorough:
        yield "base64 of percent-encoded", _client_forms(value)
    yield "quoted for a shell", _shell_forms(value, thorough)
    yield "HTML", _html_forms(value)
    if _is_plain(value):
        return  # JSON and repr have nothing to escape in it
    yield "JSON", _json_forms(value, thorough)
    yield "repr", _repr_forms(value, thorough)


def is_long_binary(value: bytes) -> bool:
    """Tell whether a value gets base64, hex and repr only: every other form takes several times its size."""
    return len(value) > LONG and not _is_text(value)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_plain(value: bytes) -> bool:
    return value.isascii() and not value.translate(None, _LETTERS + b" !#$%()*+,-.:;=?@[]^_`{|}~")


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """Yield a form for each of the value's three alignments, in both alphabets.

    The characters at both ends depend on the neighbouring bytes, so they are left out, and so is the padding: with
    them a form would miss the value inside anything longer, and `echo $SECRET | base64` already adds a newline.
    """
    for before in range(3):
        text = base64.b64encode(bytes(before) + value)
        fixed = text[-(-8 * before // 6) : 8 * (before + len(value)) // 6]
        yield fixed
        yield fixed.replace(b"+", b"-").replace(b"/", b"_")


def _wrapped_base64_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as `base64` and MIME (76 columns) or openssl and PEM (64) break lines, the value at the start."""
    text = base64.b64encode(value)[: 8 * len(value) // 6]
    for columns in (76, 64):
        if len(text) > columns:
            lines = [text[at : at + columns] for at in range(0, len(text), columns)]
            yield b"\n".join(lines)
            yield b"\r\n".join(lines)


# The bytes that are not escaped, and what a space becomes.
_QUOTE = (_LETTERS + b"_.-~/", b"%20")  # Python's quote
_QUOTE_ALL = (_LETTERS + b"_.-~", b"%20")  # RFC 3986; Python's quote(safe=""), jq's @uri, Go's PathEscape
_QUOTE_PLUS = (_LETTERS + b"_.-~", b"+")  # Python's quote_plus and urlencode, Go's QueryEscape
_COMPONENT = (_LETTERS + b"_.-~!*'()", b"%20")  # JavaScript's encodeURIComponent
_URI = (_LETTERS + b"_.-~!*'();/?:@&=+$,#", b"%20")  # JavaScript's encodeURI
_FORM = (_LETTERS + b"_.-*", b"+")  # browsers' forms, Java's URLEncoder
_NOTHING_SAFE = (b"", b"%20")  # each byte escaped


_HTML_SAFE = bytes(byte for byte in range(256) if byte not in b"&<>\"'")
_HTML_QUOTES = (
    (b"&quot;", b"&#x27;"),  # html.escape
    (b"&#34;", b"&#39;"),  # markupsafe, Go
    (b"&quot;", b"&#039;"),  # PHP
    (b"&quot;", b"'"),  # an attribute as lxml and browsers write it
)


def _percent_tables(rules: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    tables = []
    for safe, space in rules:
        for digits in (b"%%%02X", b"%%%02x"):
            table = [bytes([byte]) if byte in safe else digits % byte for byte in range(256)]
            table[0x20] = space
            tables.append((safe, tuple(table)))
    return tuple(tables)


_PERCENT_COMMON = _percent_tables((_QUOTE, _QUOTE_ALL, _QUOTE_PLUS))
_PERCENT_CLIENTS = _percent_tables((_QUOTE_ALL, _QUOTE_PLUS, _COMPONENT, _FORM))[::2]  # upper-case digits
_PERCENT_RARE = _percent_tables((_COMPONENT, _URI, _FORM, _NOTHING_SAFE))


def _percent_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    for safe, table in _PERCENT_COMMON + _PERCENT_RARE if thorough else _PERCENT_COMMON:
        if value.translate(None, safe):
            yield b"".join(map(table.__getitem__, value))


def _client_forms(value: bytes) -> Iterator[bytes]:
    """Yield it in base64 as OAuth clients send id and secret: each percent-encoded first (RFC 6749, 2.3.1).

    A value with a colon may be both of them.
    """
    parts = value.split(b":", 1)
    written = set()
    for _, table in _PERCENT_CLIENTS:
        quoted = [b"".join(map(table.__getitem__, part)) for part in parts]
        written |= {b":".join(quoted), b"%3A".join(quoted)}
    for form in written - {value}:
        yield from _base64_forms(form)


def _html_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as text and as an attribute of a page: Python's html.escape, markupsafe, Go and PHP, and lxml."""
    if not value.translate(None, _HTML_SAFE):
        return
    text = value.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    yield text
    for double, single in _HTML_QUOTES:
        yield text.replace(b'"', double).replace(b"'", single)


def _json_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    """Yield it as `json.dumps` writes it, with and without `ensure_ascii`, and as PHP (`\\/`) and Go (`\\u0026`) do."""
    text = value.decode("utf-8", "surrogateescape")  # as os.environ decodes what is not UTF-8
    pure = json.dumps(text)[1:-1].encode()
    wide = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape")
    for form in {pure, wide}:
        yield form
        yield form.replace(b"/", b"\\/")
        if thorough:
            yield form.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    if thorough and pure != wide:
        yield b"\\u".join(  # Java's upper-case digits
            part[:4].upper() + part[4:] if index else part for index, part in enumerate(pure.split(b"\\u"))
        )


def _repr_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    """Yield it as `repr` writes it, as text and as bytes.

    A double quote before it makes `repr` escape single quotes, as it does when the value is part of a text with both.
    """
    text = value.decode("utf-8", "surrogateescape")
    for written in (repr(text)[1:-1], repr('"' + text)[2:-1]):
        yield written.encode("utf-8", "surrogateescape")
    yield repr(value)[2:-1].encode()
    yield repr(b'"' + value)[3:-1].encode()
    if thorough:
        yield ascii(text)[1:-1].encode()
        yield ascii('"' + text)[2:-1].encode()


# What bash's `printf %q` puts a backslash before; `#` and `~` only in some places, see _printf_q.
_BACKSLASHED = frozenset(b" !\"$&'()*,;<>?[\\]^`{|}")
_PRINTF_Q = tuple(b"\\" + bytes([byte]) if byte in _BACKSLASHED else bytes([byte]) for byte in range(256))
_IN_DOUBLE_QUOTES = tuple(b"\\" + bytes([byte]) if byte in b'"$\\`' else bytes([byte]) for byte in range(256))
_ANSI_C_NAMES = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 11: b"\\v", 12: b"\\f", 13: b"\\r", 27: b"\\E"}
_ANSI_C_NAMES |= {0x27: b"\\'", 0x5C: b"\\\\"}
_ANSI_C = tuple(_ANSI_C_NAMES.get(byte, bytes([byte]) if 32 <= byte < 127 else b"\\%03o" % byte) for byte in range(256))
_ANSI_C_WIDE = _ANSI_C[:128] + tuple(bytes([byte]) for byte in range(128, 256))
_SHELL_SAFE = _LETTERS + b"_-.+:@%/="


def _shell_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    if not value.translate(None, _SHELL_SAFE):
        return
    yield value.replace(b"'", b"'\"'\"'")  # shlex.quote, dash
    yield value.replace(b"'", b"'\\''")  # bash: set, set -x, ${NAME@Q}
    yield b"".join(map(_PRINTF_Q.__getitem__, value))
    if b"#" in value[:1] or b"~" in value:
        yield _printf_q(value)
    if not value.isascii() or min(value) < 0x20 or 0x7F in value:
        yield b"".join(map(_ANSI_C.__getitem__, value))
        yield b"".join(map(_ANSI_C_WIDE.__getitem__, value))
    if thorough:
        yield b"".join(map(_IN_DOUBLE_QUOTES.__getitem__, value))  # bash: export -p, declare -p


def _printf_q(value: bytes) -> bytes:
    """Write it as `printf %q`, which also escapes `#` at the start and `~` at the start or after `:` or `=`."""
    parts = []
    before = -1
    for byte in value:
        special = (byte == 0x23 and before == -1) or (byte == 0x7E and (before == -1 or before in b":="))
        parts.append(b"\\" + bytes([byte]) if special else _PRINTF_Q[byte])
        before = byte
    return b"".join(parts)
