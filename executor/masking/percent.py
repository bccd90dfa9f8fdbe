"""Percent-encoding: each tool leaves other characters as they are, and a value may meet two tools in a row."""

from binascii import hexlify
from collections.abc import Iterable, Iterator

LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

_Rule = tuple[bytes, bytes]
"""The characters that stay besides letters and digits, and what a space becomes."""

_Effect = tuple[bytes, bytes]
"""What a rule does to one value: the characters of it that are replaced, and what a space becomes if it has one."""

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
_TOOLS = _COMMON + _RARE
_KEEPING = (_COMPONENT, _URI, *_PARTS)
_ALL = _TOOLS + _PARTS

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
        spaced = odd.endswith(b" ")
        self._effects: dict[_Rule, _Effect] = {
            rule: (odd.translate(None, rule[0]), rule[1] if spaced else b"")
            for rule in (_ALL if thorough else _COMMON)
        }
        self._made: dict[_Effect, bytes] = {}

    def all(self) -> Iterator[bytes]:
        """Yield it by every rule that changes it, the digits in upper and in lower case."""
        for effect in self._by(_TOOLS if self._thorough else _COMMON):
            yield self._form(effect)
            yield _written(self._value, effect, _LOWER)
        if self._thorough:
            yield from map(self._form, self._by(_PARTS))

    def once(self) -> list[bytes]:
        """Return it as a query or a form has it, if that changes it."""
        return [self._form(effect) for effect in self._by(_COMMON)]

    def twice(self) -> Iterator[bytes]:
        """Yield it as a URL that stands in another one."""
        for form in self.once():
            yield form.replace(b"%", b"%25").replace(b"+", b"%2B")

    def as_client(self) -> Iterator[bytes]:
        """Yield it as OAuth clients send id and secret in base64: each encoded first (RFC 6749, 2.3.1).

        A value with a colon may be both of them.
        """
        for effect in self._by(_CLIENTS):
            form = self._form(effect)
            both = form.replace(b"%3A", b":", 1)
            if both != self._value:
                yield both
            if both != form:
                yield form

    def in_markup(self) -> Iterator[bytes]:
        """Yield the forms that keep characters which markup does not."""
        kept = [byte for byte in b"&'" if byte in self._value]
        for effect in self._by(_KEEPING):
            if any(byte not in effect[0] for byte in kept):
                yield self._form(effect)

    def _by(self, rules: Iterable[_Rule]) -> dict[_Effect, None]:
        """Return what the rules do, without those that do the same here, or nothing."""
        known = self._effects
        return {effect: None for rule in rules if (effect := known[rule])[0]}

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
