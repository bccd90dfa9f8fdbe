"""Percent-encoding: each tool leaves other characters as they are, and a value may meet two tools in a row."""

from collections.abc import Iterable, Iterator

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

_Rule = tuple[bytes, bytes]
"""The characters that stay besides letters and digits, and what a space becomes."""

_QUOTE = (b"_.-~/", b"%20")  # Python's quote, jinja
_QUOTE_ALL = (b"_.-~", b"%20")  # RFC 3986's unreserved: Python's quote(safe=""), jq's @uri, .NET
_QUOTE_PLUS = (b"_.-~", b"+")  # Python's quote_plus and urlencode, Go's QueryEscape
_COMPONENT = (b"_.-~!*'()", b"%20")  # JavaScript's encodeURIComponent
_URI = (b"_.-~!*'();/?:@&=+$,#", b"%20")  # JavaScript's encodeURI; what requests does to a URL
_FORM = (b"_.-*", b"+")  # browsers' forms, Java's URLEncoder
_COMMON: tuple[_Rule, ...] = (_QUOTE, _QUOTE_ALL, _QUOTE_PLUS)
_RARE: tuple[_Rule, ...] = (
    _COMPONENT,
    _URI,
    _FORM,
    (b"_.-!*()", b"+"),  # .NET's UrlEncode; in lower case: HttpUtility
    (b"_.-", b"+"),  # PHP's urlencode
)
_CLIENTS: tuple[_Rule, ...] = (_QUOTE_ALL, _QUOTE_PLUS, _COMPONENT, _FORM)
# The parts of a URL, as libraries put it together. Their digits are always in upper case.
_PARTS: tuple[_Rule, ...] = (
    (b"_.-~ +", b" "),  # SQLAlchemy's login
    (bytes(byte for byte in range(256) if byte not in b":@/"), b" "),  # SQLAlchemy's before 2.0
    (b"_.-~!$&'()*+,;=", b"%20"),  # RFC 3986's login: yarl
    (b"_.-~!$&'()*+,;=:", b"%20"),  # urllib3, requests and Java's URI
    (b"_.-~$&+,;=", b"%20"),  # Go's
    (b"_.-~!$%&'()*+,", b"%20"),  # browsers', Node's, httpx's
    (b"_.-~!$&'()*+,;=:@/", b"%20"),  # a path: yarl, urllib3, Java
    (b"_.-~$&+:=@", b"%20"),  # Go's PathEscape
    (b"_.-~!$'()*,/:?@", b"+"),  # a query: yarl
    (b"_.-~!*'();/?:@&=+$,#%[]", b"%20"),  # a whole URL: Django
    (b"_.-~!*'();/?:@&=+$,#%[]\\^`{|}", b"%20"),  # httpx
    (b"_.-~!*();/?:@&=+$,#%[]\\^`{|}", b"%20"),  # a query: browsers, Node
)

_BYTES = tuple(bytes((byte,)) for byte in range(256))
_UPPER = tuple(b"%%%02X" % byte for byte in range(256))
_LOWER = tuple(b"%%%02x" % byte for byte in range(256))
_MANY = 32  # different characters; with more, one pass over the value is faster than one for each


def percent_forms(value: bytes, odd: bytes, thorough: bool) -> Iterator[bytes]:
    """Yield it percent-encoded, by every rule that changes it; `odd` has its characters that no rule leaves for sure.

    The digits are in upper and in lower case.
    """
    if thorough:
        for digits in (value.hex("%"), value.hex("%").upper()):  # each byte encoded
            yield b"%" + digits.encode()
    if not odd:
        return
    for escaped, space in _effects(odd, _COMMON + _RARE if thorough else _COMMON):
        yield _written(value, escaped, space, _UPPER)
        yield _written(value, escaped, space, _LOWER)
    if thorough:
        for escaped, space in _effects(odd, _PARTS):
            yield _written(value, escaped, space, _UPPER)


def once(value: bytes, odd: bytes) -> list[bytes]:
    """Return it as a query or a form has it, if that changes it."""
    return [_written(value, escaped, space, _UPPER) for escaped, space in _effects(odd, _COMMON)]


def twice(value: bytes, odd: bytes) -> Iterator[bytes]:
    """Yield it as a URL that stands in another one."""
    for form in once(value, odd):
        yield form.replace(b"%", b"%25").replace(b"+", b"%2B")


def as_client(value: bytes, odd: bytes) -> Iterator[bytes]:
    """Yield it as OAuth clients send id and secret in base64: each encoded first (RFC 6749, 2.3.1).

    A value with a colon may be both of them.
    """
    for escaped, space in _effects(odd, _CLIENTS):
        form = _written(value, escaped, space, _UPPER)
        both = form.replace(b"%3A", b":", 1)
        if both != value:
            yield both
        if both != form:
            yield form


def in_markup(value: bytes, odd: bytes) -> Iterator[bytes]:
    """Yield the forms that keep characters which markup does not."""
    for escaped, space in _effects(odd, (_COMPONENT, _URI, *_PARTS)):
        if any(byte in odd and byte not in escaped for byte in b"&'"):
            yield _written(value, escaped, space, _UPPER)


def odd_characters(value: bytes) -> bytes:
    """Return all that is not a letter or a digit, once each: `%` first and a space last, as they are replaced."""
    found = set(value.translate(None, LETTERS))
    percent, space = 0x25 in found, 0x20 in found
    return b"%" * percent + bytes(sorted(found - {0x20, 0x25})) + b" " * space


def _effects(odd: bytes, rules: Iterable[_Rule]) -> dict[tuple[bytes, bytes], None]:
    """Return which characters are replaced and what a space becomes, without rules that are the same here."""
    spaced = odd.endswith(b" ")
    effects: dict[tuple[bytes, bytes], None] = {}
    for safe, space in rules:
        if escaped := odd.translate(None, safe):
            effects[escaped, space if spaced else b""] = None
    return effects


def _written(value: bytes, escaped: bytes, space: bytes, digits: tuple[bytes, ...]) -> bytes:
    if len(escaped) > _MANY:
        table = [digits[byte] if byte in escaped else _BYTES[byte] for byte in range(256)]
        if 0x20 in escaped:
            table[0x20] = space
        return b"".join(map(table.__getitem__, value))
    for byte in escaped:
        value = value.replace(_BYTES[byte], space if byte == 0x20 else digits[byte])
    return value
