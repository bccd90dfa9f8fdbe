"""Percent-encoding: each tool leaves other characters as they are, and a value may meet two tools in a row."""

from binascii import hexlify
from collections.abc import Iterable, Iterator
from itertools import repeat

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

_Rule = tuple[bytes, bytes]
"""The characters that stay besides letters and digits, and what a space becomes."""

_Effect = tuple[bytes, bytes]
"""What a rule does to one value: the characters of it that are replaced, and what a space becomes if it has one."""

_COMMON: tuple[_Rule, ...] = (
    (b"_.-~/", b"%20"),  # Python's quote, jinja
    (b"_.-~", b"%20"),  # RFC 3986's unreserved: Python's quote(safe=""), jq's @uri, .NET
    (b"_.-~", b"+"),  # Python's quote_plus and urlencode, Go's QueryEscape
)
_RARE: tuple[_Rule, ...] = (
    (b"_.-~!*'()", b"%20"),  # JavaScript's encodeURIComponent
    (b"_.-*", b"+"),  # browsers' forms, Java's URLEncoder
    (b"_.-~!*'();/?:@&=+$,#", b"%20"),  # JavaScript's encodeURI; what requests does to a URL
    (b"_.-!*()", b"+"),  # .NET's UrlEncode; in lower case: HttpUtility
    (b"_.-", b"+"),  # PHP's urlencode
)
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
_ALL = _COMMON + _RARE + _PARTS
_SPACES = tuple(space for _, space in _ALL)
_OF_COMMON, _OF_TOOLS, _OF_PARTS = slice(3), slice(8), slice(8, None)
_OF_CLIENTS = slice(1, 5)  # all but quote, and the first two of the rare ones
_RARER = slice(3, None)  # among them are all that keep what markup does not

_BYTES = tuple(bytes((byte,)) for byte in range(256))
_UPPER = tuple(b"%%%02X" % byte for byte in range(256))
_LOWER = tuple(b"%%%02x" % byte for byte in range(256))
_MANY = 32  # different characters; with more, one pass over the value is faster than one for each


def bytes_forms(value: bytes) -> tuple[bytes, bytes]:
    """Return it with each byte encoded, the digits in lower and in upper case."""
    form = b"%" + hexlify(value, b"%")
    return form, form.upper()


class PercentForms:
    """The forms of one value, each of them made once: rules often have the same effect, and forms are used again."""

    __slots__ = ("_effects", "_made", "_thorough", "_value")

    def __init__(self, value: bytes, odd: bytes, thorough: bool) -> None:
        """Take the value, and `odd`, its characters that no rule leaves for sure, in the order of `odd_characters`."""
        self._value, self._thorough = value, thorough
        escaped = [odd.translate(None, safe) for safe, _ in (_ALL if thorough else _COMMON)]
        spaces: Iterable[bytes] = _SPACES if odd.endswith(b" ") else repeat(b"")
        self._effects: list[_Effect] = list(zip(escaped, spaces))  # noqa: B905  # the spaces may be without end
        self._made: dict[_Effect, bytes] = {}

    def all(self) -> Iterator[bytes]:
        """Yield it by every rule that changes it, the digits in upper and in lower case."""
        value, made = self._value, self._made
        for effect in self._by(_OF_TOOLS):  # of a value that gets the common forms only, these are all
            form = made[effect] = _written(value, effect, _UPPER)
            yield form
            yield _written(value, effect, _LOWER)
        if self._thorough:
            yield from map(self._form, self._by(_OF_PARTS))

    def once(self) -> list[bytes]:
        """Return it as a query or a form has it, if that changes it."""
        return [self._form(effect) for effect in self._by(_OF_COMMON)]

    def twice(self) -> Iterator[bytes]:
        """Yield it as a URL that stands in another one."""
        for form in self.once():
            yield form.replace(b"%", b"%25").replace(b"+", b"%2B")

    def as_client(self) -> Iterator[bytes]:
        """Yield it as OAuth clients send id and secret in base64: each encoded first (RFC 6749, 2.3.1).

        A value with a colon may be both of them.
        """
        for effect in self._by(_OF_CLIENTS):
            form = self._form(effect)
            both = form.replace(b"%3A", b":", 1)
            if both != self._value:
                yield both
            if both != form:
                yield form

    def in_markup(self) -> Iterator[bytes]:
        """Yield the forms that keep characters which markup does not."""
        kept = [byte for byte in b"&'" if byte in self._value]
        for effect in self._by(_RARER):
            if any(byte not in effect[0] for byte in kept):
                yield self._form(effect)

    def _by(self, rules: slice) -> dict[_Effect, None]:
        """Return what the rules do, without those that do the same here, or nothing."""
        return {effect: None for effect in self._effects[rules] if effect[0]}

    def _form(self, effect: _Effect) -> bytes:
        form = self._made.get(effect)
        if form is None:
            form = self._made[effect] = _written(self._value, effect, _UPPER)
        return form


def odd_characters(value: bytes) -> bytes:
    """Return all that is not a letter or a digit, once each: `%` first and a space last, as they are replaced."""
    found = set(value.translate(None, LETTERS))
    percent, space = 0x25 in found, 0x20 in found
    return b"%" * percent + bytes(sorted(found - {0x20, 0x25})) + b" " * space


def _written(value: bytes, effect: _Effect, digits: tuple[bytes, ...]) -> bytes:
    escaped, space = effect
    if len(escaped) > _MANY:
        table = [digits[byte] if byte in escaped else _BYTES[byte] for byte in range(256)]
        if 0x20 in escaped:
            table[0x20] = space
        return b"".join(map(table.__getitem__, value))
    for byte in escaped:
        value = value.replace(_BYTES[byte], space if byte == 0x20 else digits[byte])
    return value
